"""Alerts: alert people when health turns red, and when it is green again."""
