"""Lists the deliveries of the delivery log, newest change first, a page at a time.

The delivery log may have millions of rows, and not an index for every filter. Indexes serve the deliveries of one
reservation and those that are pending or dead. For anything else it is scanned from the newest change backwards, in
steps of a fixed range of numbers, and only so many steps: a page may then have fewer rows than its limit, and a cursor
to continue from.

A filter by time does not tell the first and last number, because numbers do not grow with time: a backfill draws its
numbers and queues under them when every older transaction has ended, maybe hours later, so that changes made meanwhile
have higher numbers and earlier times. A binary search would silently miss some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.deliveries.logged_delivery import LoggedDelivery, typed
from cdc_bridge.endpoints.lookup import known_endpoints, no_such_endpoint
from cdc_bridge.model import DeliveryState, EndpointId, ReservationId
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_STEP = 20_000  # of all endpoints together: most changes have a delivery at each of them
_MAX_STEPS = 10
_HIGHEST_SEQ = 2**63 - 1
_UNSETTLED = {DeliveryState.QUEUED, DeliveryState.RETRYING, DeliveryState.DEAD}

Connection = AsyncConnection[TupleRow]

_Ceilings = dict[EndpointId, int]
"""The highest number to list, by endpoint."""


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list; ``None`` or empty: no restriction."""

    endpoint: str | None = None
    states: Sequence[DeliveryState] = ()
    reservation_id: ReservationId | None = None
    since: datetime | None = None
    """First ``changed_at``."""
    until: datetime | None = None
    """``changed_at`` before this."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list; the next page has what comes after it."""

    seq: int
    endpoint_id: int

    def __str__(self) -> str:
        return f"{self.seq}-{self.endpoint_id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse what ``str`` returned.

        Raises:
            ValueError: It is not a cursor.
        """
        seq, dash, endpoint_id = text.partition("-")
        if not (dash and text.isascii() and seq.isdigit() and endpoint_id.isdigit()):
            raise ValueError("is not a cursor of this list")
        return cls(min(int(seq), _HIGHEST_SEQ), min(int(endpoint_id), _HIGHEST_SEQ))

    def ceiling(self, endpoint_id: EndpointId) -> int:
        """Return the highest number of an endpoint's deliveries after it."""
        return self.seq if endpoint_id > self.endpoint_id else self.seq - 1


_START = Cursor(_HIGHEST_SEQ, 0)


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A page of the list."""

    deliveries: Sequence[LoggedDelivery]
    next: Cursor | None
    """Where the next page starts; ``None``: this is the last one."""


async def list_deliveries(
    connection: Connection, filter_: DeliveryFilter, limit: int, after: Cursor | None = None
) -> DeliveryPage:
    """Return a page of deliveries, newest change first.

    Args:
        connection: To the database.
        filter_: Which deliveries.
        limit: Size of the page.
        after: Where the previous page ended; ``None``: the first page.

    Raises:
        BridgeError: There is no endpoint of that name.
    """
    start = _START if after is None else after
    ceilings = {id_: start.ceiling(id_) for id_ in await _endpoint_ids(connection, filter_.endpoint)}
    search = _Search(connection, filter_, limit)
    if filter_.reservation_id is not None:
        return search.page(await search.rows("latest_deliveries", ceilings))
    if filter_.states and set(filter_.states) <= _UNSETTLED:
        return search.page(await search.rows("latest_unsettled", ceilings))
    return await search.scan_back(ceilings)


async def _endpoint_ids(connection: Connection, name: str | None) -> list[EndpointId]:
    endpoints = await known_endpoints(connection)
    ids = [endpoint.endpoint_id for endpoint in endpoints if name in {None, endpoint.name}]
    if name is not None and not ids:
        raise no_such_endpoint(name, [endpoint.name for endpoint in endpoints])
    return ids


@dataclass(frozen=True, slots=True)
class _Search:
    connection: Connection
    filter: DeliveryFilter
    limit: int

    async def rows(
        self, statement: str, ceilings: _Ceilings, above: int = 0, limit: int | None = None
    ) -> list[LoggedDelivery]:
        """Return the rows of a statement: one more than the page's size, if there are as many."""
        parameters = _by_endpoint(ceilings) | {
            "above": above,
            "reservation_id": self.filter.reservation_id,
            "states": [state.value for state in self.filter.states or DeliveryState],
            "since": self.filter.since,
            "until": self.filter.until,
            "limit": self.limit + 1 if limit is None else limit,
        }
        async with self.connection.cursor(row_factory=dict_row) as cursor:
            # Not prepared: the plan has to fit the filter.
            await cursor.execute(_queries[statement], parameters, prepare=False)
            return [LoggedDelivery(**typed(row)) for row in await cursor.fetchall()]

    def page(self, rows: list[LoggedDelivery]) -> DeliveryPage:
        """Return the page that the rows make: all there are, or more than its size."""
        shown = rows[: self.limit]
        has_more = len(rows) > self.limit
        return DeliveryPage(shown, Cursor(shown[-1].seq, shown[-1].endpoint_id) if has_more else None)

    async def scan_back(self, ceilings: _Ceilings) -> DeliveryPage:
        """Scan the delivery log backwards from the ceilings, a step at a time."""
        rows: list[LoggedDelivery] = []
        step = max(1, _STEP // max(1, len(ceilings)))
        for _ in range(_MAX_STEPS):
            newest = await self._newest_seq(ceilings)
            if newest is None:
                return self.page(rows)
            above = newest - step
            rows += await self.rows("latest_deliveries", ceilings, above, self.limit + 1 - len(rows))
            if len(rows) > self.limit:
                return self.page(rows)
            ceilings = {endpoint_id: min(ceiling, above) for endpoint_id, ceiling in ceilings.items()}
        return DeliveryPage(rows, Cursor(above, 0)) if above > 0 else self.page(rows)

    async def _newest_seq(self, ceilings: _Ceilings) -> int | None:
        cursor = await self.connection.execute(_queries["newest_delivery"], _by_endpoint(ceilings))
        ((seq,),) = await cursor.fetchall()
        return None if seq is None else int(seq)


def _by_endpoint(ceilings: _Ceilings) -> dict[str, Any]:
    return {"endpoint_ids": list(ceilings), "ceilings": list(ceilings.values())}
