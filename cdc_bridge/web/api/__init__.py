"""The HTTP API, ``/api/v1``: what the commands do with endpoints and deliveries, for programs.

A request passes the same connections and the same guard as those of the dashboard (:mod:`cdc_bridge.web.guard`), but
shows a token instead of a session: no cookie counts, so that no other web site can send one in somebody's name.
:mod:`routes` lists the operations; routes, input checks and the OpenAPI document derive from that list.
"""
