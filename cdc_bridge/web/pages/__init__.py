"""Handlers of the dashboard's pages."""
