"""The status of an endpoint: the words, and how times and ages are written beside them.

The view ``cdc_bridge.endpoint_status`` decides which one applies; its header says when. Nothing here decides it again.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from enum import StrEnum


class EndpointStatus(StrEnum):
    """The status of an endpoint, as the view ``cdc_bridge.endpoint_status`` has it."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Some deliveries are rejected, or one cannot be recorded."""
    FAILING = "failing"
    """Its breaker is open, or every delivery is rejected."""
    PAUSED = "paused"
    """An operator paused it."""
    DISABLED = "disabled"
    """It responded with 410."""
    UNASSIGNED = "unassigned"
    """No live daemon has its lease."""
    INVALID = "invalid"
    """It cannot be used: its definition, or its position, is invalid."""


RESTORED_ELSEWHERE = (
    "this database was restored from a dump into another PostgreSQL cluster, so nothing is delivered; if it is the one "
    "to work with and no copy, run in psql as a DBA: select cdc_bridge.adopt();"
)
"""Why an endpoint is invalid if its position counts another cluster's transactions; the view says the same."""


def when(at: datetime | None, zone: tzinfo | None = None) -> str | None:
    """Return a time for people, in a time zone; ``None``: this machine's."""
    return None if at is None else at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def age(duration: float | timedelta) -> str:
    """Return a duration for people, in seconds or as a ``timedelta``: ``5 min``."""
    seconds = max(0.0, duration.total_seconds() if isinstance(duration, timedelta) else duration)
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"
