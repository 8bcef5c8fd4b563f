"""Endpoints in the database: added, shown, changed, removed and called for trial by a person."""
