"""From a commit in PostgreSQL to a page of changes: the doorbell, the change log and the position in it."""
