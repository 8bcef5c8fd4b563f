"""The daemon's background work: leases, pipelines, heartbeat, health, pruning, reload."""
