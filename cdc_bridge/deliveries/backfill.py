"""Calls an endpoint with reservations that it never had: those that were there before it was added.

Which ones is read off the ledger, so a backfill that was interrupted goes on where it was when it is started again.

Or with all of them once more, each under a new number: for a till that has lost what it had and yet drops repeats, or
that was told more than e-Res knows after a recovery to a point in time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.deliveries.enqueue import MOST_AT_ONCE, MOST_WAITING, Chosen, ReservationQueue
from cdc_bridge.deliveries.reservation_keys import ReservationKeys
from cdc_bridge.endpoints.lookup import EndpointRef
from cdc_bridge.model import ReservationId
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_PAGE = 5000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which reservations, and how."""

    since: datetime | None = None
    """Only those updated then or later."""
    again: bool = False
    """Also those that the endpoint had."""
    at_most: int = MOST_WAITING
    """While so many of its deliveries wait, nothing is queued."""
    wait: bool = False
    """End when all are settled, not as soon as they are queued."""


@dataclass(slots=True)
class Backfilled:
    """What was done so far."""

    looked_at: int = 0
    chosen: int = 0
    """Those that the endpoint is to be called with."""
    queued: int = 0
    settled: int = 0
    waits_for: str | None = None


async def count(connection: AsyncConnection[TupleRow], endpoint: EndpointRef, wanted: Wanted) -> Backfilled:
    """Return how many reservations there are, and how many of them the endpoint would be called with.

    Raises:
        BridgeError: the view cannot be read by time.
        psycopg.Error: the database could not be read.
    """
    counted = Backfilled()
    async for looked_at, chosen in _pages(connection, endpoint, wanted):
        counted.looked_at += looked_at
        counted.chosen += len(chosen)
    return counted


async def backfill(
    connection: AsyncConnection[TupleRow],
    endpoint: EndpointRef,
    wanted: Wanted,
    done: Backfilled,
    told: Callable[[Backfilled], None],
) -> None:
    """Queue every reservation of which the endpoint's ledger has nothing, or every one.

    Args:
        connection: to the database, autocommit.
        endpoint: who is called.
        wanted: which reservations, and how.
        done: what was done; right also when this is interrupted.
        told: is told of it again and again.

    Raises:
        BridgeError: the endpoint is gone, or the view cannot be read by time.
        psycopg.Error: the database could not be used.
    """

    def tell(queue: ReservationQueue) -> None:
        done.queued, done.settled, done.waits_for = queue.queued, queue.settled, queue.waits_for
        told(done)

    queue = ReservationQueue(connection, endpoint.endpoint_id, wanted.at_most, tell)
    gathered: list[Chosen] = []
    async for looked_at, chosen in _pages(connection, endpoint, wanted):
        done.looked_at += looked_at
        done.chosen += len(chosen)
        tell(queue)
        gathered += chosen
        if len(gathered) + _PAGE > MOST_AT_ONCE:
            await queue.put(gathered)
            gathered.clear()
    if gathered:
        await queue.put(gathered)
    if wanted.wait:
        await queue.until_settled()


async def _pages(
    connection: AsyncConnection[TupleRow], endpoint: EndpointRef, wanted: Wanted
) -> AsyncIterator[tuple[int, list[Chosen]]]:
    """Go through all reservations by pages; yield how many a page has, and those that the endpoint is called with."""
    keys = ReservationKeys(wanted.since)
    while not keys.at_end:
        page = await keys.next_page(connection, _PAGE)
        parameters = {"endpoint_id": endpoint.endpoint_id, "reservation_ids": page, "again": wanted.again}
        cursor = await connection.execute(_queries["to_backfill"], parameters)
        yield len(page), [Chosen(ReservationId(key), newest_seq) for key, newest_seq in await cursor.fetchall()]
