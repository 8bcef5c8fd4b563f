"""Endpoints: their options, rows, leases and status."""
