"""Calls an endpoint with reservations that it never had: those that were there before it was added.

Which ones is read off the ledger, so a backfill that was interrupted goes on where it was when it is started again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.model import ReservationId
from cdc_bridge.operations.chosen_endpoint import ChosenEndpoint
from cdc_bridge.operations.reservation_keys import ReservationKeys
from cdc_bridge.operations.reservation_queue import MOST_AT_ONCE, Chosen, ReservationQueue
from cdc_bridge.queries import queries

_PAGE = 5000


@dataclass(slots=True)
class Backfilled:
    """What was done so far."""

    looked_at: int = 0
    lacking: int = 0
    """Those of which the ledger had nothing."""
    queued: int = 0
    settled: int = 0
    waits_for: str | None = None


async def count(connection: AsyncConnection[TupleRow], endpoint: ChosenEndpoint, since: datetime | None) -> Backfilled:
    """Return how many reservations there are, and how many of them the endpoint never had.

    Raises:
        BridgeError: the view cannot be read by time.
        psycopg.Error: the database could not be read.
    """
    counted = Backfilled()
    async for page, lacking in _pages(connection, endpoint, since):
        counted.looked_at += len(page)
        counted.lacking += len(lacking)
    return counted


async def backfill(
    connection: AsyncConnection[TupleRow],
    endpoint: ChosenEndpoint,
    *,
    since: datetime | None,
    at_most: int,
    wait: bool,
    done: Backfilled,
    told: Callable[[Backfilled], None],
) -> None:
    """Queue every reservation of which the endpoint's ledger has nothing.

    Args:
        connection: to the database, autocommit.
        endpoint: who is called.
        since: only those updated then or later.
        at_most: while so many of its deliveries wait, nothing is queued.
        wait: end when all are settled, not as soon as they are queued.
        done: what was done; right also when this is interrupted.
        told: is told of it again and again.

    Raises:
        BridgeError: the endpoint is gone, or the view cannot be read by time.
        psycopg.Error: the database could not be used.
    """

    def tell(queue: ReservationQueue) -> None:
        done.queued, done.settled, done.waits_for = queue.queued, queue.settled, queue.waits_for
        told(done)

    queue = ReservationQueue(connection, endpoint.endpoint_id, at_most, tell)
    chosen: list[Chosen] = []
    async for page, lacking in _pages(connection, endpoint, since):
        done.looked_at += len(page)
        done.lacking += len(lacking)
        tell(queue)
        chosen += map(Chosen, lacking)
        if len(chosen) + _PAGE > MOST_AT_ONCE:
            await queue.put(chosen)
            chosen.clear()
    if chosen:
        await queue.put(chosen)
    if wait:
        await queue.until_settled()


async def _pages(
    connection: AsyncConnection[TupleRow], endpoint: ChosenEndpoint, since: datetime | None
) -> AsyncIterator[tuple[list[ReservationId], list[ReservationId]]]:
    """Yield all reservations by pages, each with those of it of which the ledger has nothing."""
    keys = ReservationKeys(since)
    while not keys.at_end:
        page = await keys.next_page(connection, _PAGE)
        cursor = await connection.execute(
            queries["without_delivery"], {"endpoint_id": endpoint.endpoint_id, "reservation_ids": page}
        )
        yield page, [ReservationId(key) for (key,) in await cursor.fetchall()]
