"""The daemon's HTTP server: dashboard, HTTP API, metrics and health checks.

A connection passes :mod:`connections`, a request :mod:`guard`, then a handler in :mod:`pages`, :mod:`api` or
:mod:`monitoring`; :mod:`server` and :mod:`api.routes` have the routes.
"""
