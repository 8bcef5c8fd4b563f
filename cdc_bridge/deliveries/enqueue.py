"""Queues calls for reservations under numbers of their own, which are in order with those of the change log.

A receiver drops what has a lower number than it has seen, and the daemon supersedes it. So a call must not carry a
higher number than a change that is committed after the call's body was loaded: that change would never be called. A
change gets its number when its statement has run, and is seen when its transaction commits, maybe hours later. Hence:

    draw numbers -> wait until every transaction has ended that may have drawn a lower one -> queue

What has a lower number is in the log by then. A reservation that has a change in the log which is not in the ledger yet
is left out, as is one of which the ledger has something new when it is to be queued: they are called anyway. (Were such
a change left aside, a daemon killed at the wrong moment would call it again after the call with the higher number.)

Any later change has a higher number, and whichever comes first, the daemon keeps the order. So numbers may be drawn
long before they are used, many at once, and the waiting costs little. No lock and no transaction of ours is open
meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.older_writers import until_older_writers_have_ended
from cdc_bridge.deliveries.delivery_log_lock import delivery_log_locked
from cdc_bridge.deliveries.unread_changes import with_unread_changes
from cdc_bridge.model import EndpointId, ReservationId, Seq
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

MOST_AT_ONCE = 20_000
"""So many reservations are worth one wait, and not too many to hold in memory."""

MOST_WAITING = 10_000
"""More than that need not wait for their calls at once."""

_CHUNK = 1000
_LOOK_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Chosen:
    """A reservation to be called."""

    reservation_id: ReservationId
    newest_seq: int = 0
    """Its newest delivery in the ledger when it was chosen; 0: there was none."""


class ReservationQueue:
    """Queues reservations for one endpoint."""

    def __init__(
        self,
        connection: AsyncConnection[TupleRow],
        endpoint_id: EndpointId,
        at_most: int,
        told: Callable[[ReservationQueue], None],
    ) -> None:
        """Prepare to queue.

        Args:
            connection: to the database, autocommit.
            endpoint_id: who is called.
            at_most: while so many of its deliveries wait, nothing is queued.
            told: is told when something has changed.
        """
        self._connection = connection
        self._endpoint_id = endpoint_id
        self._at_most = at_most
        self._told = told
        self._unsettled: set[Seq] = set()
        self._look_again_at = 0.0
        self.queued = 0
        self.waits_for: str | None = None
        """What keeps it from going on at present."""

    @property
    def settled(self) -> int:
        """How many of those queued were delivered, or settled otherwise."""
        return self.queued - len(self._unsettled)

    async def put(self, chosen: Sequence[Chosen]) -> int:
        """Queue reservations; return how many were.

        Args:
            chosen: them; the fewer, the better, of :data:`MOST_AT_ONCE`.

        Raises:
            BridgeError: the endpoint is gone.
            psycopg.Error: the database could not be used.
        """
        before = self.queued
        numbers = await self._draw(len(chosen))
        await until_older_writers_have_ended(self._connection, self._wait_for)
        ids = [reservation.reservation_id for reservation in chosen]
        unread = await with_unread_changes(self._connection, self._endpoint_id, ids)
        numbered = zip(numbers, chosen, strict=True)
        left = [(seq, reservation) for seq, reservation in numbered if reservation.reservation_id not in unread]
        while left:
            size = await self._room(min(len(left), _CHUNK))
            await self._insert(left[:size])
            del left[:size]
            self._told(self)
        return self.queued - before

    async def until_settled(self) -> None:
        """Wait until all that was queued is settled.

        Raises:
            psycopg.Error: the database could not be read.
        """
        while self._unsettled:
            self._wait_for("the calls")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            await self._see_what_is_settled()
        self._wait_for(None)

    def _wait_for(self, what: str | None) -> None:
        self.waits_for = what
        self._told(self)

    async def _draw(self, count: int) -> list[Seq]:
        cursor = await self._connection.execute(_queries["draw_numbers"], {"count": count})
        return [Seq(number) for (number,) in await cursor.fetchall()]

    async def _room(self, wanted: int) -> int:
        """Wait until there is room for some more; return for how many, at most as many as are wanted."""
        enough = min(wanted, max(1, self._at_most // 10))
        while (room := self._at_most - await self._waiting()) < enough:
            self._wait_for(f"the endpoint, as {self._at_most:,} of its deliveries wait")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            await self._see_what_is_settled()
        self.waits_for = None
        return min(wanted, room)

    async def _waiting(self) -> int:
        cursor = await self._connection.execute(_queries["count_pending"], {"endpoint_id": self._endpoint_id})
        ((number,),) = await cursor.fetchall()
        return int(number)

    async def _see_what_is_settled(self) -> None:
        cursor = await self._connection.execute(
            _queries["still_pending"], {"endpoint_id": self._endpoint_id, "seqs": list(self._unsettled)}
        )
        self._unsettled = {Seq(seq) for (seq,) in await cursor.fetchall()}
        self._look_again_at = time.monotonic() + _LOOK_AGAIN_SECONDS
        self._told(self)

    async def _insert(self, numbered: Sequence[tuple[Seq, Chosen]]) -> None:
        parameters = {
            "endpoint_id": self._endpoint_id,
            "seqs": [seq for seq, _ in numbered],
            "reservation_ids": [chosen.reservation_id for _, chosen in numbered],
            "newest_seqs": [chosen.newest_seq for _, chosen in numbered],
        }
        async with delivery_log_locked(self._connection, self._endpoint_id):
            cursor = await self._connection.execute(_queries["queue_reservations"], parameters)
            queued = {Seq(seq) for (seq,) in await cursor.fetchall()}
        self.queued += len(queued)
        self._unsettled |= queued
        if time.monotonic() >= self._look_again_at:
            await self._see_what_is_settled()
