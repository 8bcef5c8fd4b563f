"""What the daemon shows by HTTP: the page for settings and deliveries, its metrics and whether it is well.

A request passes :mod:`guard`, then one of :mod:`pages` or :mod:`monitoring`; :mod:`server` says which is where.
"""
