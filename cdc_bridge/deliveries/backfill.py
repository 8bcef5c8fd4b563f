"""Delivers reservations to an endpoint that never had them: those that existed before it was added.

The delivery log tells which, so an interrupted backfill continues where it was when it is started again.

Or delivers all reservations again, each under a new number: for an endpoint that lost its data and yet drops repeats,
or that has received changes which e-Res lost in a point-in-time recovery.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record
from cdc_bridge.deliveries.enqueue import MAX_PENDING, Candidate, Enqueuer, is_full
from cdc_bridge.endpoints.lookup import EndpointRef
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.keys import ReservationKeys
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection

_queries = load_queries(__name__)

_PAGE = 5000


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """Which reservations, and how."""

    since: datetime | None = None
    """Only those updated at this time or later."""
    again: bool = False
    """Also those that the endpoint had."""
    max_pending: int = MAX_PENDING
    """Pending deliveries of the endpoint from which on nothing is queued."""
    wait: bool = False
    """Return when all are settled, not as soon as they are queued."""


@dataclass(slots=True)
class BackfillProgress:
    """What a backfill has done so far."""

    read: int = 0
    selected: int = 0
    """Reservations to deliver."""
    queued: int = 0
    settled: int = 0
    waiting_for: str | None = None


async def count(
    connection: AsyncConnection[TupleRow],
    loading: LoadingConnection,
    endpoint: EndpointRef,
    options: BackfillOptions,
) -> BackfillProgress:
    """Return how many reservations the endpoint gets, and how many of them would be delivered.

    Raises:
        BridgeError: "updated" is not a timestamp with time zone.
    """
    progress = BackfillProgress()
    async for read, candidates in _pages(connection, loading, endpoint, options):
        progress.read += read
        progress.selected += len(candidates)
    return progress


async def backfill(
    connection: AsyncConnection[TupleRow],
    loading: LoadingConnection,
    endpoint: EndpointRef,
    options: BackfillOptions,
    *,
    progress: BackfillProgress,
    on_progress: Callable[[BackfillProgress], None],
    by: Actor,
) -> None:
    """Queue every reservation that the endpoint gets and of which its delivery log has nothing, or every one.

    Args:
        connection: To the database, autocommit.
        loading: Reads the reservations' keys.
        endpoint: The endpoint.
        options: Which reservations, and how.
        progress: Kept current, so that it is right also after an interruption.
        on_progress: Called when it has changed.
        by: Who backfills it.

    Raises:
        BridgeError: The endpoint was removed, or "updated" is not a timestamp with time zone.
    """

    def update(enqueuer: Enqueuer) -> None:
        progress.queued, progress.settled = enqueuer.queued, enqueuer.settled
        progress.waiting_for = enqueuer.waiting_for
        on_progress(progress)

    await record(
        connection, by, Action.BACKFILL_STARTED, endpoint.name, since=options.since, again=options.again or None
    )
    enqueuer = Enqueuer(connection, endpoint.endpoint_id, options.max_pending, update)
    batch: list[Candidate] = []
    async for read, candidates in _pages(connection, loading, endpoint, options):
        progress.read += read
        progress.selected += len(candidates)
        update(enqueuer)
        batch += candidates
        if is_full(batch, _PAGE):
            await enqueuer.enqueue(batch)
            batch.clear()
    if batch:
        await enqueuer.enqueue(batch)
    if options.wait:
        await enqueuer.wait_until_settled()


async def _pages(
    connection: AsyncConnection[TupleRow],
    loading: LoadingConnection,
    endpoint: EndpointRef,
    options: BackfillOptions,
) -> AsyncIterator[tuple[int, list[Candidate]]]:
    """Read the reservations that the endpoint gets; yield the size of each page, and those of it to deliver."""
    keys = ReservationKeys(options.since, endpoint.subscription)
    while not keys.at_end:
        page = await keys.next_page(loading, _PAGE)
        parameters = {"endpoint_id": endpoint.endpoint_id, "reservation_ids": page, "again": options.again}
        cursor = await connection.execute(_queries["to_backfill"], parameters)
        yield len(page), [Candidate(ReservationId(key), newest_seq) for key, newest_seq in await cursor.fetchall()]
