"""The demo: a throwaway PostgreSQL, the example e-Res, a receiver and the daemon on one machine."""
