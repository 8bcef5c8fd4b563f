"""An endpoint in few words: the figure that matters most now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus, age

DELIVERED_TO = frozenset({EndpointStatus.HEALTHY, EndpointStatus.DEGRADED})
"""Statuses of endpoints that get their bookings, or most of them."""


def gets_nothing(endpoint: EndpointOverview) -> bool:
    """Return whether an endpoint gets no bookings at present, and it is not just being taken over."""
    return endpoint.status not in DELIVERED_TO and not endpoint.settling


@dataclass(frozen=True, slots=True)
class Figure:
    """The figure of an endpoint that matters most now."""

    value: str
    meaning: str


def figure_of(endpoint: EndpointOverview, now: datetime, max_lag_seconds: float) -> Figure:
    """Return the figure of an endpoint that matters most now."""
    if endpoint.lag_seconds is not None and endpoint.lag_seconds > max_lag_seconds and endpoint.backlog is None:
        return Figure(age(endpoint.lag_seconds), "behind")
    rejects = endpoint.status is EndpointStatus.DEGRADED and endpoint.pending > 0
    late = (endpoint.lag_seconds or 0.0) > max_lag_seconds and not rejects
    if endpoint.backlog and (gets_nothing(endpoint) or late):
        up_to = "" if endpoint.gets_everything else "≤ "
        return Figure(f"{up_to}{endpoint.backlog:,}", "not delivered yet")
    if endpoint.dead:
        return Figure(f"{endpoint.dead:,}", "given up")
    if endpoint.pending:
        return Figure(f"{endpoint.pending:,}", "to be tried again")
    if endpoint.last_success_at is None:
        return Figure("0", "delivered so far")
    return Figure(age(now - endpoint.last_success_at), "since the last delivery")
