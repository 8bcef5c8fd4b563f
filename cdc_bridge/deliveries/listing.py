"""Lists the ledger's deliveries, newest change first, a page at a time.

The ledger may have millions of rows, and no index for every wish. What an index answers, the deliveries of a
reservation and those that wait or are dead, is asked of it. Everything else is looked through from the newest change
backwards, in steps of so many numbers, and not without end: a page may have fewer rows than were asked for, and says
from where to go on.

Where a time bounds the list, that does not tell its first and last number: numbers do not grow with time. A backfill
draws its numbers and queues under them when every older transaction has ended, maybe hours later, so that what was
changed meanwhile has higher numbers and earlier times. Halving would leave some of it out, and nobody would see that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.capture.change_log import operation_of
from cdc_bridge.endpoints.lookup import EndpointRef, known_endpoints, no_such_endpoint
from cdc_bridge.model import DeliveryState, EndpointId, Operation, ReservationId, Seq
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_STEP = 20_000  # of all endpoints together: most changes have a delivery at each of them
_MOST_STEPS = 10
_HIGHEST = 2**63 - 1
_UNSETTLED = {DeliveryState.QUEUED, DeliveryState.RETRYING, DeliveryState.DEAD}

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries; what is ``None`` or empty does not narrow it."""

    endpoint: str | None = None
    states: Sequence[DeliveryState] = ()
    reservation_id: ReservationId | None = None
    since: datetime | None = None
    """Their change was made then or later ..."""
    until: datetime | None = None
    """... and before this."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list: what comes behind it is on the next page."""

    seq: int
    endpoint_id: int

    def __str__(self) -> str:
        """Return it as text that may stand in a URL."""
        return f"{self.seq}-{self.endpoint_id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read such a text.

        Raises:
            ValueError: it is none.
        """
        seq, dash, endpoint_id = text.partition("-")
        if not (dash and text.isascii() and seq.isdigit() and endpoint_id.isdigit()):
            raise ValueError("is no place in the list")
        return cls(min(int(seq), _HIGHEST), min(int(endpoint_id), _HIGHEST))

    def ceiling(self, endpoint_id: EndpointId) -> int:
        """Return the highest number of an endpoint's deliveries that comes behind it."""
        return self.seq if endpoint_id > self.endpoint_id else self.seq - 1


_BEGINNING = Cursor(_HIGHEST, 0)


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """A delivery as the ledger has it."""

    endpoint_id: EndpointId
    endpoint: str
    seq: Seq
    reservation_id: ReservationId
    operation: Operation
    changed_at: datetime
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    last_attempt_at: datetime | None
    duration_seconds: float | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the list."""

    deliveries: Sequence[ListedDelivery]
    next: Cursor | None
    """Where to go on; ``None``: there is nothing more."""


async def list_deliveries(connection: Connection, wanted: Wanted, limit: int, after: Cursor | None = None) -> Listed:
    """Return a page of deliveries, newest change first.

    Args:
        connection: to the database.
        wanted: which.
        limit: most of them.
        after: where the page before ended; ``None``: from the newest on.

    Raises:
        BridgeError: there is no endpoint of that name.
        psycopg.Error: the database could not be read.
    """
    endpoints = await _endpoints(connection, wanted.endpoint)
    start = _BEGINNING if after is None else after
    ceilings = {id_: start.ceiling(id_) for id_ in endpoints}
    search = _Search(connection, wanted, limit)
    if wanted.reservation_id is not None:
        return search.page(await search.rows("latest_of_reservation", ceilings))
    if wanted.states and set(wanted.states) <= _UNSETTLED:
        return search.page(await search.rows("latest_unsettled", ceilings))
    return await search.look_back(ceilings)


async def _endpoints(connection: Connection, name: str | None) -> list[EndpointId]:
    known: list[EndpointRef] = await known_endpoints(connection)
    if name is None:
        return [endpoint.endpoint_id for endpoint in known]
    found = [endpoint.endpoint_id for endpoint in known if endpoint.name == name]
    if not found:
        raise no_such_endpoint(name, [endpoint.name for endpoint in known])
    return found


async def _newest(connection: Connection, ceilings: dict[EndpointId, int]) -> int | None:
    cursor = await connection.execute(_queries["newest_delivery"], _tops(ceilings))
    ((seq,),) = await cursor.fetchall()
    return None if seq is None else int(seq)


def _tops(ceilings: dict[EndpointId, int]) -> dict[str, Any]:
    return {"endpoint_ids": list(ceilings), "ceilings": list(ceilings.values())}


@dataclass(frozen=True, slots=True)
class _Search:
    connection: Connection
    wanted: Wanted
    limit: int

    async def rows(
        self, statement: str, ceilings: dict[EndpointId, int], above: int = 0, limit: int | None = None
    ) -> list[ListedDelivery]:
        """Return what a statement finds up to one more than the page has."""
        parameters = _tops(ceilings) | {
            "above": above,
            "reservation_id": self.wanted.reservation_id,
            "states": [state.value for state in self.wanted.states or DeliveryState],
            "since": self.wanted.since,
            "until": self.wanted.until,
            "limit": self.limit + 1 if limit is None else limit,
        }
        async with self.connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_queries[statement], parameters)
            return [
                ListedDelivery(
                    **row | {"operation": operation_of(row["operation"]), "state": DeliveryState(row["state"])}
                )
                for row in await cursor.fetchall()
            ]

    def page(self, rows: list[ListedDelivery]) -> Listed:
        """Return a page of what was found, which is all there is or more than the page has."""
        shown = rows[: self.limit]
        more = len(rows) > self.limit
        return Listed(shown, Cursor(shown[-1].seq, shown[-1].endpoint_id) if more else None)

    async def look_back(self, ceilings: dict[EndpointId, int]) -> Listed:
        """Look through the deliveries below some numbers, a step at a time."""
        found: list[ListedDelivery] = []
        step = max(1, _STEP // max(1, len(ceilings)))
        for _ in range(_MOST_STEPS):
            top = await _newest(self.connection, ceilings)
            if top is None:
                return self.page(found)
            above = top - step
            found += await self.rows("latest_deliveries", ceilings, above, self.limit + 1 - len(found))
            if len(found) > self.limit:
                return self.page(found)
            ceilings = {endpoint_id: min(ceiling, above) for endpoint_id, ceiling in ceilings.items()}
        return Listed(found, Cursor(above, 0)) if above > 0 else self.page(found)
