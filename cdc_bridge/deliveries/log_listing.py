"""Lists the deliveries of the delivery log, newest change first, a part at a time.

The delivery log may have millions of rows, and not an index for every filter. Indexes serve the deliveries of one
reservation and those that are pending or dead. For anything else it is scanned from the newest change backwards, in
steps of a limited number of deliveries, and only for so long: a page may then have fewer rows than its limit, and a
cursor to continue from.

A filter by time does not tell the first and last number, because numbers do not grow with time: a backfill draws its
numbers and queues under them when every older transaction has ended, maybe hours later, so that changes made meanwhile
have higher numbers and earlier times. A binary search would silently miss some.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.deliveries.logged_delivery import LoggedDelivery, typed
from cdc_bridge.endpoints.lookup import number_of_endpoints
from cdc_bridge.model import DeliveryState, EndpointId, ReservationId
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_FIRST_STEP = 2000
_STEP = 20_000
"""Deliveries that one step looks at: the first one is shorter, as nearly everything may match."""
_ENDPOINTS_A_STEP = 1000
_MAX_STEPS = 10
_LONGEST_SECONDS = 0.04
"""No step begins later: those of many endpoints lie apart, and take longer than as many of one."""
_HIGHEST_SEQ = 2**63 - 1
_UNSETTLED = {DeliveryState.QUEUED, DeliveryState.RETRYING, DeliveryState.DEAD}

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which deliveries to list; ``None`` or empty: no restriction."""

    endpoint_id: EndpointId | None = None
    states: Sequence[DeliveryState] = ()
    reservation_id: ReservationId | None = None
    since: datetime | None = None
    """First ``changed_at``."""
    until: datetime | None = None
    """``changed_at`` before this."""


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A place in the list; what comes after it is on the next page."""

    seq: int
    endpoint_id: int


START = LogPlace(_HIGHEST_SEQ, 0)


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of the list."""

    deliveries: Sequence[LoggedDelivery]
    next: LogPlace | None
    """Where the next page starts; ``None``: this is the last one."""


async def list_logged(
    connection: Connection,
    filter_: LogFilter,
    limit: int,
    after: LogPlace = START,
    *,
    one_step: bool = False,
) -> LogPage:
    """Return deliveries, newest change first.

    Args:
        connection: To the database.
        filter_: Which deliveries.
        limit: Size of the page.
        after: Where the previous page ended.
        one_step: Whether a scan ends after its first step.
    """
    search = _Search(connection, filter_, limit, 0.0 if one_step else _LONGEST_SECONDS)
    if filter_.reservation_id is not None:
        return search.page(await search.rows("latest_of_reservation", after))
    if filter_.states and set(filter_.states) <= _UNSETTLED:
        return search.page(await search.rows("latest_unsettled", after))
    return await search.scan_back(after, 1 if filter_.endpoint_id else await number_of_endpoints(connection))


@dataclass(frozen=True, slots=True)
class _Search:
    connection: Connection
    filter: LogFilter
    limit: int
    longest_seconds: float
    """For a scan: no step but the first begins later."""

    async def rows(self, statement: str, after: LogPlace) -> list[LoggedDelivery]:
        """Return the rows of a statement: one more than the page's size, if there are as many."""
        return [LoggedDelivery(**typed(row)) for row in await self._read(statement, after, {"limit": self.limit + 1})]

    def page(self, rows: list[LoggedDelivery]) -> LogPage:
        """Return the page that the rows make: all there are, or more than its size."""
        shown = rows[: self.limit]
        has_more = len(rows) > self.limit
        return LogPage(shown, LogPlace(shown[-1].seq, shown[-1].endpoint_id) if has_more else None)

    async def scan_back(self, after: LogPlace, endpoints: int) -> LogPage:
        """Scan the delivery log backwards from a place, a step at a time.

        Args:
            after: The place.
            endpoints: How many endpoints have deliveries there: of each of many, a step looks at a few.
        """
        rows: list[LoggedDelivery] = []
        size, most_endpoints = _FIRST_STEP, min(max(1, endpoints), _ENDPOINTS_A_STEP)
        if self._has_everything:
            size, most_endpoints = _STEP, min(most_endpoints, self.limit + 1)
        deadline = time.monotonic() + self.longest_seconds
        for _ in range(_MAX_STEPS):
            limit = self.limit + 1 - len(rows)
            most_each = max(1, size // most_endpoints)
            if self._has_everything:
                most_each = min(most_each, limit)
            limits = {"most_endpoints": most_endpoints, "most_each": most_each, "limit": limit}
            found = await self._read("scan_deliveries", after, limits)
            left_out = [(row.pop("left_out_seq"), row.pop("left_out_endpoint_id")) for row in found]
            rows += [LoggedDelivery(**typed(row)) for row in found if row["seq"] is not None]
            (seq, endpoint_id), *_ = left_out
            if len(rows) > self.limit or seq is None:
                return self.page(rows)
            after, size = LogPlace(seq, endpoint_id - 1), _STEP
            if time.monotonic() > deadline:
                break
        return LogPage(rows, after)

    @property
    def _has_everything(self) -> bool:
        """Whether each delivery matches: then no endpoint has more of a page than the page's size."""
        return not self.filter.states and self.filter.since is None and self.filter.until is None

    async def _read(self, statement: str, after: LogPlace, limits: dict[str, int]) -> list[dict[str, Any]]:
        parameters = limits | {
            "endpoint_id": self.filter.endpoint_id,
            "after_seq": after.seq,
            "after_endpoint_id": after.endpoint_id,
            "reservation_id": self.filter.reservation_id,
            "states": [state.value for state in self.filter.states or DeliveryState],
            "since": self.filter.since,
            "until": self.filter.until,
        }
        async with self.connection.cursor(row_factory=dict_row) as cursor:
            # Not prepared: the plan has to fit the filter.
            await cursor.execute(_queries[statement], parameters, prepare=False)
            return await cursor.fetchall()
