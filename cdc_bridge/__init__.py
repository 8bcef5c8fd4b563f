"""Webhooks for the e-Res reservation system, straight from its PostgreSQL database.

``README.md`` in this folder is the map of the code.
"""

__version__ = "0.1.0"
