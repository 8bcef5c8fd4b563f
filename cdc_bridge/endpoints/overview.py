"""Status, lag, backlog and recent attempts of endpoints, read from the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.endpoints.endpoint_state import last_hour_of
from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.endpoints.status import EndpointStatus, when
from cdc_bridge.model import EndpointId, ReservationId, Seq
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

ASSIGNED_WITHIN = timedelta(seconds=10)
"""An endpoint that has had no daemon for less may be about to be leased."""


@dataclass(frozen=True, slots=True)
class EndpointOverview:
    """One endpoint. What its daemon reports is as old as the last heartbeat, some seconds."""

    endpoint_id: EndpointId
    name: str
    url: str
    """For people: without what may be secret in it."""
    in_settings: bool
    """Declared in a daemon's settings, and changed there only."""
    gets_everything: bool
    """Whether it gets every change; if not, some of those that are unread may be for others."""
    read_at: datetime
    """The database's time."""
    status: EndpointStatus
    since: datetime | None
    """When the status began; ``None``: not known."""
    reason: str | None
    next_probe_at: datetime | None
    """When a failing endpoint is tried again."""
    daemon: str | None
    """Host and process id of the live daemon that leases it."""
    unread: int | None
    """Changes in the log after its position, estimated from 10,000 on; ``None``: another cluster's position."""
    pending: int
    """Deliveries queued or retrying, counted up to 10,000."""
    dead: int
    """Dead letters, counted up to 10,000."""
    lag_seconds: float | None
    """Age of the oldest change that is unread or pending; ``None``: there is none."""
    in_flight: int | None
    """Requests in flight; ``None``, as in the next two: no daemon leases it."""
    listening: bool | None
    """Whether its daemon receives notifications; if not, it polls."""
    deliveries_per_second: float | None
    """Over the last minute."""
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_failure: str | None
    rate_limited_since: datetime | None
    """Since when its requests have had to wait for ``max_per_second``; ``None``: they have not."""
    max_per_second: float | None
    last_hour: LastHour
    """Attempts by the minute, up to the present one."""
    reconciled_missing: int | None
    """Reservations that the last reconcile found and that were never delivered; ``None``: there was none."""
    reconciled_stale: int | None
    """Reservations that it found delivered in another state."""
    oldest_pending_seq: Seq | None
    """The delivery that the lag is due to, if it is a pending one; likewise the next three."""
    oldest_pending_reservation: ReservationId | None
    oldest_pending_attempts: int | None
    oldest_pending_error: str | None

    @property
    def stopped(self) -> bool:
        """Whether nothing is to be delivered until somebody resumes it."""
        return self.status in {EndpointStatus.PAUSED, EndpointStatus.DISABLED}

    @property
    def settling(self) -> bool:
        """Whether it was added, resumed or released so recently that a daemon may be about to lease it."""
        return (
            self.status is EndpointStatus.UNASSIGNED
            and self.since is not None
            and self.read_at - self.since < ASSIGNED_WITHIN
        )

    @property
    def backlog(self) -> int | None:
        """Changes that are unread or pending; ``None``: not known."""
        return None if self.unread is None else self.unread + self.pending

    @property
    def lag_reason(self) -> str | None:
        """Why it lags though nothing is wrong; ``None``: there is no such reason."""
        if self.rate_limited_since is None or self.max_per_second is None:
            return None
        return f"limited to {self.max_per_second:g} request{'' if self.max_per_second == 1 else 's'} a second"

    @property
    def reasons(self) -> str:
        """Why it has its status, and why it lags; empty if there is nothing to say."""
        return "; ".join(filter(None, (self.reason, self.lag_reason)))

    def sentence(self, zone: tzinfo | None = None) -> str:
        """Return the status in a few words, with times in a time zone; ``None``: this machine's."""
        text = str(self.status)
        if self.since is not None:
            text += f" since {when(self.since, zone)}"
        if self.next_probe_at is not None:
            text += f", next attempt at {self.next_probe_at.astimezone(zone):%H:%M:%S %Z}"
        return f"{text}: {self.reasons}" if self.reasons else text


async def endpoint_overviews(connection: AsyncConnection[TupleRow], name: str | None = None) -> list[EndpointOverview]:
    """Return all endpoints by name, or the one of a name if it is there."""
    return await _read(connection, name=name)


async def overview_page(connection: AsyncConnection[TupleRow], after: str | None, limit: int) -> list[EndpointOverview]:
    """Return the next endpoints by name.

    Args:
        connection: To the database.
        after: Name of the last endpoint of the page before; ``None``: this is the first.
        limit: At most so many.
    """
    return await _read(connection, after=after, limit=limit)


async def overviews_of(
    connection: AsyncConnection[TupleRow], endpoint_ids: Collection[EndpointId]
) -> dict[EndpointId, EndpointOverview]:
    """Return those of some endpoints that are there."""
    if not endpoint_ids:
        return {}
    return {found.endpoint_id: found for found in await _read(connection, endpoint_ids=endpoint_ids)}


async def _read(
    connection: AsyncConnection[TupleRow],
    *,
    name: str | None = None,
    after: str | None = None,
    limit: int | None = None,
    endpoint_ids: Collection[EndpointId] | None = None,
) -> list[EndpointOverview]:
    if any(text is not None and not (text.isascii() and text.isprintable()) for text in (name, after)):
        return []  # No endpoint can have that name, and PostgreSQL accepts no NUL.
    ids = None if endpoint_ids is None else list(endpoint_ids)
    async with connection.cursor(row_factory=dict_row) as cursor:
        asked = {"name": name, "after": after, "limit": limit, "endpoint_ids": ids}
        await cursor.execute(_queries["endpoint_overviews"], asked)
        return [_overview(row) for row in await cursor.fetchall()]


def _overview(row: dict[str, Any]) -> EndpointOverview:
    counted = last_hour_of(*(row.pop(name) for name in ("last_minute_at", "delivered_by_minute", "failed_by_minute")))
    return EndpointOverview(
        **row | {"status": EndpointStatus(row["status"])},
        last_hour=(counted or LastHour(row["read_at"])).ending(row["read_at"]),
    )
