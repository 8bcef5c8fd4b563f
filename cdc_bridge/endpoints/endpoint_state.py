"""What the daemon that leases an endpoint reports of it in the endpoint's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cdc_bridge.endpoints.last_hour import LastHour

REPORTED_COLUMNS = (
    "last_success_at", "last_failure_at", "last_failure", "last_minute_at", "delivered_by_minute", "failed_by_minute",
)  # fmt: skip
"""Columns that outlive a lease, in the order of :func:`reported_values`."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """An endpoint's state as its daemon knows it."""

    failing_since: datetime | None = None
    next_probe_at: datetime | None = None
    problem: str | None = None
    rate_limited_since: datetime | None = None
    """Since when requests have had to wait for ``max_per_second``."""
    in_flight: int = 0
    """Requests in flight."""
    deliveries_per_second: float = 0.0
    """Over the last minute."""
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_failure: str | None = None
    """Why the newest failed attempt failed."""
    last_hour: LastHour | None = None
    """Attempts by the minute, those of earlier leases included; ``None``: none is known."""


def reported_values(state: EndpointState) -> tuple[Any, ...]:
    """Return the values of :data:`REPORTED_COLUMNS`; arrays as text, as those of many endpoints travel as one array."""
    last = state.last_success_at, state.last_failure_at, state.last_failure
    hour = state.last_hour
    if hour is None:
        return *last, None, None, None
    return *last, hour.last_minute_at, _array(hour.delivered), _array(hour.failed)


def _array(counts: Sequence[int]) -> str:
    return "{" + ",".join(map(str, counts)) + "}"


def last_hour_of(
    last_minute_at: datetime | None, delivered: Sequence[int] | None, failed: Sequence[int] | None
) -> LastHour | None:
    """Return the attempts of the last hour from a row's columns; ``None``: the row has none."""
    if last_minute_at is None or delivered is None or failed is None:
        return None
    return LastHour(last_minute_at, tuple(delivered), tuple(failed))
