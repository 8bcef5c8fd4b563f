"""What people ask of deliveries: list, show, retry, replay, backfill, reconcile."""
