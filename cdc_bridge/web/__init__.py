"""The daemon's HTTP server: dashboard, metrics and health checks.

A connection passes :mod:`connections`, a request :mod:`guard`, then a handler in :mod:`pages` or :mod:`monitoring`;
:mod:`server` has the routes.
"""
