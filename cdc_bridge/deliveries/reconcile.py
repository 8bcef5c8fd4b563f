"""Compares e-Res's reservations with what an endpoint received last: proves that nothing was missed.

The hash of a reservation's current body is compared with the hash in the webhook-id of its newest delivery. That also
finds what capture cannot see: rows written while triggers were disabled or bypassed, rows restored from elsewhere, a
change of the customer or the call alone.

A page of reservations, the delivery log, the change log and the position are read in one snapshot, by two sessions that
share it, so that a pending change is not mistaken for a missed one, whatever is written meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.deliveries.enqueue import Candidate, Enqueuer, is_full
from cdc_bridge.deliveries.unread_changes import with_unread_changes
from cdc_bridge.model import DeliveryState, EndpointId, Events, ReservationId, Seq
from cdc_bridge.payload.keys import ReservationKeys
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection
from cdc_bridge.transport.message import body_hash

_queries = load_queries(__name__)

_PAGE = 2000
"""Reservations compared in one snapshot: the end of the change log is read for each page."""

_LOAD = 200
"""Bodies in memory at once."""

_MIN_PAUSE_SECONDS = 0.1


class SyncState(StrEnum):
    """How a reservation compares with its last delivery to an endpoint."""

    IN_SYNC = "in sync"
    """The last delivered body is the current one."""
    PENDING = "pending"
    """A delivery is pending, or a change is not read yet."""
    MISSING = "missing"
    """It was never delivered."""
    STALE = "stale"
    """The last delivered body differs from the current one."""
    DEAD = "dead"
    """Its newest delivery is a dead letter."""
    UNREADABLE = "unreadable"
    """It cannot be loaded, so it is not compared."""
    NOT_COMPARED = "not compared"
    """It was never delivered, and need not have been: the endpoint gets nothing before the first update."""


@dataclass(frozen=True, slots=True)
class ComparedEndpoint:
    """An endpoint, and what it gets."""

    endpoint_id: EndpointId
    subscription: Subscription
    events: Events


OUT_OF_SYNC = (SyncState.MISSING, SyncState.STALE, SyncState.DEAD, SyncState.UNREADABLE)
"""The endpoint lacks the current body, and nothing is pending."""


@dataclass(frozen=True, slots=True)
class LastDeliveries:
    """What the delivery log has of a reservation."""

    newest_seq: Seq
    newest_state: DeliveryState
    delivered_hash: str | None
    """Hash of the last delivered body; ``None``: none was delivered."""
    ever_delivered: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one comparison."""

    reservation_id: ReservationId
    state: SyncState
    newest_seq: int
    """The reservation's newest delivery; 0: it has none."""


@dataclass(slots=True)
class ReconcileReport:
    """The results so far."""

    keep_ids: int | None = None
    """How many ids to keep for each state that is out of sync; ``None``: all."""
    counts: Counter[SyncState] = field(default_factory=Counter)
    ids: dict[SyncState, list[ReservationId]] = field(default_factory=lambda: {state: [] for state in OUT_OF_SYNC})
    queued: int = 0

    @property
    def compared(self) -> int:
        """How many reservations were compared."""
        return self.counts.total()

    @property
    def in_sync(self) -> bool:
        """Whether no reservation is out of sync."""
        return not any(self.counts[state] for state in OUT_OF_SYNC)

    def add(self, findings: Collection[Finding]) -> None:
        """Add results."""
        self.counts.update(finding.state for finding in findings)
        for finding in findings:
            ids = self.ids.get(finding.state)
            if ids is not None and (self.keep_ids is None or len(ids) < self.keep_ids):
                ids.append(finding.reservation_id)


def compare(last: LastDeliveries | None, current_hash: str, *, unread: bool, events: Events = Events.BOTH) -> SyncState:
    """Compare a reservation with its last delivery.

    Args:
        last: What the delivery log has of it; ``None``: nothing.
        current_hash: Hash of its current body.
        unread: Whether it has an unread change.
        events: Changes that the endpoint gets.
    """
    if last is not None and last.newest_state.is_pending:
        return SyncState.PENDING
    # An endpoint that gets no updates has the reservation as it was created.
    delivered = last is not None and last.ever_delivered
    if (last is not None and last.delivered_hash == current_hash) or (delivered and events is Events.CREATED):
        return SyncState.IN_SYNC
    if unread:
        return SyncState.PENDING
    if last is not None and last.newest_state is DeliveryState.DEAD:
        return SyncState.DEAD
    if delivered:
        return SyncState.STALE
    return SyncState.NOT_COMPARED if events is Events.UPDATED else SyncState.MISSING


async def reconcile(
    connection: AsyncConnection[TupleRow],
    loading: LoadingConnection,
    endpoint: ComparedEndpoint,
    since: datetime,
    report: ReconcileReport,
    *,
    on_progress: Callable[[], None] = lambda: None,
    repair: Collection[SyncState] = (),
    enqueuer: Enqueuer,
    gently: bool = False,
) -> None:
    """Compare the reservations that an endpoint gets with their last deliveries, and queue what is to be repaired.

    Args:
        connection: To the database, autocommit.
        loading: Loads the reservations.
        endpoint: The endpoint.
        since: Lower bound of the column "updated", or of "created" if the endpoint gets no updates.
        report: Kept current, so that it is right also after an interruption.
        on_progress: Called after each page.
        repair: The states whose reservations are queued.
        enqueuer: Queues them.
        gently: Pause after each page as long as it took, to leave the database to others.

    Raises:
        PayloadInvalid: The payload does not fit e-Res's tables.
        BridgeError: "updated" is not a timestamp with time zone, or the endpoint was removed.
    """
    batch: list[Candidate] = []
    started = time.monotonic()
    async for findings in _findings(connection, loading, endpoint, since):
        took_seconds = time.monotonic() - started
        report.add(findings)
        on_progress()
        to_repair = [finding for finding in findings if finding.state in repair]
        batch += [Candidate(finding.reservation_id, finding.newest_seq) for finding in to_repair]
        if is_full(batch, _PAGE):
            report.queued += await enqueuer.enqueue(batch)
            batch.clear()
        if gently:
            await asyncio.sleep(max(_MIN_PAUSE_SECONDS, took_seconds))
        started = time.monotonic()
    if batch:
        report.queued += await enqueuer.enqueue(batch)


async def note_compared(
    connection: AsyncConnection[TupleRow], endpoint_id: EndpointId, report: ReconcileReport
) -> None:
    """Record what a comparison of all that can be compared left to be delivered: nothing, if all of it was queued."""
    wrong = {state: report.counts[state] for state in (SyncState.MISSING, SyncState.STALE)}
    left = {state.value: 0 if report.queued >= sum(wrong.values()) else number for state, number in wrong.items()}
    await connection.execute(_queries["note_compared"], left | {"endpoint_id": endpoint_id})


async def _findings(
    connection: AsyncConnection[TupleRow], loading: LoadingConnection, endpoint: ComparedEndpoint, since: datetime
) -> AsyncIterator[list[Finding]]:
    endpoint_id, loader = endpoint.endpoint_id, ReservationLoader(endpoint.subscription)
    keys = ReservationKeys(since, endpoint.subscription, created=endpoint.events is Events.CREATED)
    judge = partial(compare, events=endpoint.events)
    while not keys.at_end:
        async with connection.transaction():
            await connection.execute(_queries["in_one_snapshot"])
            snapshot = await _export_snapshot(connection)
            await _skip_pruned(connection, endpoint_id, keys)
            page = await keys.next_page(loading, _PAGE, snapshot)
            hashes, unreadable = await _current_hashes(loading, loader, page, snapshot)
            last = await _last_deliveries(connection, endpoint_id, page)
            suspects = [id_ for id_ in hashes if judge(last.get(id_), hashes[id_], unread=False) in OUT_OF_SYNC]
            unread = await with_unread_changes(connection, endpoint_id, suspects)
        yield [
            Finding(
                id_,
                judge(last.get(id_), hashes[id_], unread=id_ in unread),
                last[id_].newest_seq if id_ in last else 0,
            )
            for id_ in hashes
        ] + [Finding(id_, SyncState.UNREADABLE, 0) for id_ in unreadable]


async def _export_snapshot(connection: AsyncConnection[TupleRow]) -> str:
    cursor = await connection.execute(_queries["export_snapshot"])
    ((snapshot,),) = await cursor.fetchall()
    return str(snapshot)


async def _skip_pruned(connection: AsyncConnection[TupleRow], endpoint_id: EndpointId, keys: ReservationKeys) -> None:
    """Leave out reservations whose deliveries may have been pruned: they would look missing."""
    cursor = await connection.execute(_queries["delivery_log_start"], {"endpoint_id": endpoint_id})
    ((start,),) = await cursor.fetchall() or [(None,)]
    if start is not None:
        keys.raise_since(start)


async def _current_hashes(
    loading: LoadingConnection, loader: ReservationLoader, page: list[ReservationId], snapshot: str
) -> tuple[dict[ReservationId, str], list[ReservationId]]:
    """Return the hashes of the bodies, and the reservations that cannot be loaded."""
    hashes: dict[ReservationId, str] = {}
    unreadable: list[ReservationId] = []
    left = list(page)
    while left:
        loaded = await loader.load(loading, left[:_LOAD], snapshot=snapshot)
        hashes |= {id_: body_hash(reservation.body) for id_, reservation in loaded.reservations.items()}
        unreadable += loaded.unreadable
        left = [*loaded.postponed, *left[_LOAD:]]
    return hashes, unreadable


async def _last_deliveries(
    connection: AsyncConnection[TupleRow], endpoint_id: EndpointId, page: list[ReservationId]
) -> dict[ReservationId, LastDeliveries]:
    cursor = await connection.execute(
        _queries["last_deliveries"], {"endpoint_id": endpoint_id, "reservation_ids": page}
    )
    return {
        ReservationId(id_): LastDeliveries(
            Seq(seq), DeliveryState(state), None if message_id is None else message_id.partition("-")[2], ever_delivered
        )
        for id_, seq, state, message_id, ever_delivered in await cursor.fetchall()
    }
