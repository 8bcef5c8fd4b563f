"""Calls reservations once more: the newest delivery of each is due again, under its own number.

The body is the reservation as it stands when the call is made, so one call says it all. The newest delivery alone may
be made due: an older one would be called after it.

A delivery that was accepted tells the daemon which older changes it need not call any more. While it waits again that
is not known; so a reservation with a change that is not in the ledger yet is left out. It is called anyway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.deliveries.delivery_log_lock import delivery_log_locked
from cdc_bridge.deliveries.unread_changes import with_unread_changes
from cdc_bridge.endpoints.lookup import EndpointRef
from cdc_bridge.model import DeliveryState, ReservationId, Seq
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_PAGE = 10_000
"""So many are chosen at once, as the end of the change log is read for each page anew."""

_CHUNK = 1000
"""So many are queued in one transaction."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which reservations; what is ``None`` or empty does not narrow it."""

    since: datetime | None = None
    """One of their deliveries was called, or else recorded, then or later ..."""
    until: datetime | None = None
    """... and before this."""
    reservation_ids: Sequence[ReservationId] = ()
    states: Sequence[DeliveryState] = ()
    """Of their newest delivery. A superseded one stands for the one that was delivered in its stead."""


@dataclass(slots=True)
class Replayed:
    """What was done so far."""

    selected: int = 0
    queued: int = 0
    named: set[ReservationId] = field(default_factory=set)
    """Of the reservations that were selected by name, those found."""

    @property
    def left_out(self) -> int:
        """How many are called anyway, or were called just now."""
        return self.selected - self.queued


@dataclass(frozen=True, slots=True)
class _Newest:
    reservation_id: ReservationId
    seq: Seq
    state: str


async def count(connection: AsyncConnection[TupleRow], endpoint: EndpointRef, selection: Selection) -> Replayed:
    """Return how many are selected.

    Raises:
        psycopg.Error: the database could not be read.
    """
    counted = Replayed()
    async for page in _pages(connection, endpoint, selection):
        counted.selected += len(page)
        _note_named(counted, page, selection)
    return counted


async def replay(
    connection: AsyncConnection[TupleRow],
    endpoint: EndpointRef,
    selection: Selection,
    done: Replayed,
    told: Callable[[Replayed], None],
) -> None:
    """Make the newest delivery of each selected reservation due.

    Args:
        connection: to the database, autocommit.
        endpoint: whose deliveries.
        selection: which.
        done: what was done; right also when this is interrupted.
        told: is told of it after each chunk.

    Raises:
        BridgeError: the endpoint is gone.
        psycopg.Error: the database could not be used.
    """
    async for page in _pages(connection, endpoint, selection):
        # Asked after the newest ones were read: what is not in the ledger by now was not in it then.
        ids = [newest.reservation_id for newest in page]
        unread = await with_unread_changes(connection, endpoint.endpoint_id, ids)
        for start in range(0, len(page), _CHUNK):
            chunk = page[start : start + _CHUNK]
            chosen = [newest for newest in chunk if newest.reservation_id not in unread]
            done.queued += await _requeue(connection, endpoint, chosen)
            done.selected += len(chunk)
            told(done)
        _note_named(done, page, selection)


def _note_named(done: Replayed, page: list[_Newest], selection: Selection) -> None:
    if selection.reservation_ids:
        done.named.update(newest.reservation_id for newest in page)


async def _pages(
    connection: AsyncConnection[TupleRow], endpoint: EndpointRef, selection: Selection
) -> AsyncIterator[list[_Newest]]:
    parameters = {
        "endpoint_id": endpoint.endpoint_id,
        "since": selection.since,
        "until": selection.until,
        "reservation_ids": list(selection.reservation_ids) or None,
        "states": [state.value for state in selection.states] or None,
        "after": "",
        "limit": _PAGE,
    }
    while True:
        # Not prepared: the plan has to fit what was selected, and leave out what was not.
        cursor = await connection.execute(_queries["newest_deliveries"], parameters, prepare=False)
        page = [_Newest(*record) for record in await cursor.fetchall()]
        if page:
            yield page
        if len(page) < _PAGE:
            return
        parameters["after"] = page[-1].reservation_id


async def _requeue(connection: AsyncConnection[TupleRow], endpoint: EndpointRef, chosen: list[_Newest]) -> int:
    async with delivery_log_locked(connection, endpoint.endpoint_id):
        cursor = await connection.execute(
            _queries["requeue"],
            {
                "endpoint_id": endpoint.endpoint_id,
                "seqs": [newest.seq for newest in chosen],
                "reservation_ids": [newest.reservation_id for newest in chosen],
                "states": [newest.state for newest in chosen],
            },
        )
    return cursor.rowcount
