"""From a page of changes to settled deliveries: order, calls, retries and the ledger."""
