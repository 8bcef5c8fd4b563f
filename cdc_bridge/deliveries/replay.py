"""Sends reservations again: makes the newest delivery of each due again, under its own number.

The body is the reservation's current state, so one request is enough. Only the newest delivery can be made due: an
older one would be sent after it.

From deliveries that succeeded the daemon knows which older changes it need not send any more. While the newest one is
pending again it does not know that, so a reservation with an unread change is left out. It is delivered in any case.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record
from cdc_bridge.capture.change_log import PAGE_BYTES
from cdc_bridge.deliveries.delivery_log_lock import delivery_log_locked
from cdc_bridge.deliveries.unread_changes import with_unread_changes
from cdc_bridge.endpoints.lookup import EndpointRef
from cdc_bridge.model import DeliveryState, ReservationId, Seq
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_PAGE = 10_000
"""Reservations selected at once: the end of the change log is read for each page."""

_LOWEST_HASH = -(2**63)

_CHUNK = 1000
"""Reservations queued in one transaction."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which reservations to send; ``None`` or empty: no restriction."""

    since: datetime | None = None
    """One of their deliveries had its last attempt, or else was recorded, at this time or later ..."""
    until: datetime | None = None
    """... and before this."""
    reservation_ids: Sequence[ReservationId] = ()
    states: Sequence[DeliveryState] = ()
    """State of the newest delivery; a superseded one counts as delivered."""


@dataclass(slots=True)
class ReplayProgress:
    """What a replay has done so far."""

    selected: int = 0
    queued: int = 0
    named: set[ReservationId] = field(default_factory=set)
    """Of the reservations selected by id, those that the delivery log has."""

    @property
    def left_out(self) -> int:
        """Reservations with an unread change, or delivered just now."""
        return self.selected - self.queued

    def note_named(self, page: Sequence[_NewestDelivery], selection: Selection) -> None:
        """Keep the ids of a page, if reservations were selected by id."""
        if selection.reservation_ids:
            self.named.update(newest.reservation_id for newest in page)


@dataclass(frozen=True, slots=True)
class _NewestDelivery:
    reservation_id: ReservationId
    seq: Seq
    state: str
    hash: int
    """Of the id: the order in which they are read."""


async def count(connection: AsyncConnection[TupleRow], endpoint: EndpointRef, selection: Selection) -> ReplayProgress:
    """Return how many reservations are selected."""
    progress = ReplayProgress()
    async for page in _pages(connection, endpoint, selection):
        progress.selected += len(page)
        progress.note_named(page, selection)
    return progress


async def replay(
    connection: AsyncConnection[TupleRow],
    endpoint: EndpointRef,
    selection: Selection,
    progress: ReplayProgress,
    on_progress: Callable[[ReplayProgress], None],
    *,
    by: Actor,
    delivery: Seq | None = None,
) -> None:
    """Make the newest delivery of each selected reservation due.

    Args:
        connection: To the database, autocommit.
        endpoint: Whose deliveries.
        selection: Which reservations.
        progress: Kept current, so that it is right also after an interruption.
        on_progress: Called after each chunk.
        by: Who replays them.
        delivery: For the audit log, the delivery that stands for the reservation.

    Raises:
        BridgeError: The endpoint was removed.
    """
    asked = {"since": selection.since, "until": selection.until, "states": [*selection.states] or None}
    number = len(selection.reservation_ids) or None
    await record(connection, by, Action.REPLAY_STARTED, endpoint.name, **asked, reservations=number, delivery=delivery)
    async for page in _pages(connection, endpoint, selection):
        # Read after the newest deliveries: what is not recorded by now was not recorded then.
        ids = [newest.reservation_id for newest in page]
        unread = await with_unread_changes(connection, endpoint.endpoint_id, ids)
        for start in range(0, len(page), _CHUNK):
            chunk = page[start : start + _CHUNK]
            ready = [newest for newest in chunk if newest.reservation_id not in unread]
            progress.queued += await _requeue(connection, endpoint, ready)
            progress.selected += len(chunk)
            on_progress(progress)
        progress.note_named(page, selection)


async def _pages(
    connection: AsyncConnection[TupleRow], endpoint: EndpointRef, selection: Selection
) -> AsyncIterator[list[_NewestDelivery]]:
    parameters: dict[str, Any] = {
        "endpoint_id": endpoint.endpoint_id,
        "since": selection.since,
        "until": selection.until,
        "reservation_ids": list(selection.reservation_ids) or None,
        "states": [state.value for state in selection.states] or None,
        "after_hash": _LOWEST_HASH,
        "after_id": None,
        "limit": _PAGE,
        "max_bytes": PAGE_BYTES,
    }
    while True:
        # Not prepared: the plan has to fit the selection.
        cursor = await connection.execute(_queries["newest_deliveries"], parameters, prepare=False)
        records = await cursor.fetchall()
        page = [_NewestDelivery(*record[:4]) for record in records]
        if page:
            yield page
        if len(page) < _PAGE and (not records or records[-1][4] < PAGE_BYTES):
            return
        parameters |= {"after_hash": page[-1].hash, "after_id": page[-1].reservation_id}


async def _requeue(
    connection: AsyncConnection[TupleRow], endpoint: EndpointRef, deliveries: list[_NewestDelivery]
) -> int:
    async with delivery_log_locked(connection, endpoint.endpoint_id):
        cursor = await connection.execute(
            _queries["requeue"],
            {
                "endpoint_id": endpoint.endpoint_id,
                "seqs": [newest.seq for newest in deliveries],
                "reservation_ids": [newest.reservation_id for newest in deliveries],
                "states": [newest.state for newest in deliveries],
            },
        )
    return cursor.rowcount
