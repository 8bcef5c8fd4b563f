"""One endpoint's deliveries, from a page of changes to the delivery log."""
