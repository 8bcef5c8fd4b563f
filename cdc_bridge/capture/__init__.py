"""From a commit in PostgreSQL to a page of changes: the wake-up, the change log and the position in it."""
