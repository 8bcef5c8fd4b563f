"""Queues deliveries of reservations under new numbers, in order with those of the change log.

A receiver drops a number lower than one it has seen, and the daemon supersedes it. So a delivery must not have a higher
number than a change that commits after the delivery's body was loaded: that change would never be delivered. A change
draws its number when its statement ends, and becomes visible when its transaction commits, maybe hours later. Hence:

    draw numbers -> wait until every transaction has ended that may have drawn a lower one -> queue

By then every change with a lower number is in the change log. A reservation with an unread change is left out, as is
one whose newest delivery is not the one that was selected: both are delivered in any case. (Otherwise a daemon killed
at the wrong moment would send such a change again after the delivery with the higher number.)

Every later change has a higher number, and the daemon keeps the order. So numbers can be drawn in large batches, long
before they are used, and the wait costs little. It holds no lock and no transaction open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.change_log import PAGE_BYTES
from cdc_bridge.capture.older_writers import until_older_writers_have_ended
from cdc_bridge.deliveries.delivery_log_lock import delivery_log_locked
from cdc_bridge.deliveries.unread_changes import with_unread_changes
from cdc_bridge.model import EndpointId, ReservationId, Seq
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

MAX_BATCH = 20_000
"""Reservations for one wait: enough to be worth it, few enough for memory."""

_MAX_BATCH_BYTES = 4 * PAGE_BYTES

MAX_PENDING = 10_000
"""Pending deliveries of an endpoint from which on nothing is queued: more would only use space."""

_CHUNK = 1000
_POLL_INTERVAL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reservation to queue."""

    reservation_id: ReservationId
    newest_seq: int = 0
    """Its newest delivery when it was selected; 0: it had none."""


def is_full(batch: Sequence[Candidate], next_page: int) -> bool:
    """Return whether a batch has no room for another page of so many reservations."""
    key_bytes = sum(len(candidate.reservation_id.encode()) for candidate in batch)
    return len(batch) + next_page > MAX_BATCH or key_bytes + PAGE_BYTES > _MAX_BATCH_BYTES


class Enqueuer:
    """Queues deliveries for one endpoint."""

    def __init__(
        self,
        connection: AsyncConnection[TupleRow],
        endpoint_id: EndpointId,
        max_pending: int,
        on_progress: Callable[[Enqueuer], None],
    ) -> None:
        """Start with nothing queued.

        Args:
            connection: To the database, autocommit.
            endpoint_id: The endpoint.
            max_pending: Pending deliveries of the endpoint from which on nothing is queued.
            on_progress: Called when a public attribute has changed.
        """
        self._connection = connection
        self._endpoint_id = endpoint_id
        self._max_pending = max_pending
        self._on_progress = on_progress
        self._unsettled: set[Seq] = set()
        self._next_poll_at = 0.0
        self.queued = 0
        self.waiting_for: str | None = None
        """What it waits for at present, for people."""

    @property
    def settled(self) -> int:
        """How many of the queued deliveries are settled."""
        return self.queued - len(self._unsettled)

    async def enqueue(self, candidates: Sequence[Candidate]) -> int:
        """Queue deliveries; return how many were queued.

        Args:
            candidates: At most about :data:`MAX_BATCH` reservations.

        Raises:
            BridgeError: The endpoint was removed.
        """
        before = self.queued
        numbers = await self._draw_numbers(len(candidates))
        await until_older_writers_have_ended(self._connection, self._wait_for)
        ids = [candidate.reservation_id for candidate in candidates]
        unread = await with_unread_changes(self._connection, self._endpoint_id, ids)
        numbered = zip(numbers, candidates, strict=True)
        left = [(seq, candidate) for seq, candidate in numbered if candidate.reservation_id not in unread]
        while left:
            size = await self._wait_for_room(min(len(left), _CHUNK))
            await self._insert(left[:size])
            del left[:size]
            self._on_progress(self)
        return self.queued - before

    async def wait_until_settled(self) -> None:
        """Wait until everything that was queued is settled."""
        while self._unsettled:
            self._wait_for("the deliveries")
            await asyncio.sleep(_POLL_INTERVAL_SECONDS)
            await self._poll_unsettled()
        self._wait_for(None)

    def _wait_for(self, what: str | None) -> None:
        self.waiting_for = what
        self._on_progress(self)

    async def _draw_numbers(self, count: int) -> list[Seq]:
        cursor = await self._connection.execute(_queries["draw_numbers"], {"count": count})
        return [Seq(number) for (number,) in await cursor.fetchall()]

    async def _wait_for_room(self, size: int) -> int:
        """Wait until there is room for a tenth of the limit, or for ``size``; return for how many, up to ``size``."""
        enough = min(size, max(1, self._max_pending // 10))
        while (room := self._max_pending - await self._count_pending()) < enough:
            self._wait_for(f"the endpoint, which has {self._max_pending:,} pending deliveries")
            await asyncio.sleep(_POLL_INTERVAL_SECONDS)
            await self._poll_unsettled()
        self.waiting_for = None
        return min(size, room)

    async def _count_pending(self) -> int:
        cursor = await self._connection.execute(_queries["count_pending"], {"endpoint_id": self._endpoint_id})
        ((number,),) = await cursor.fetchall()
        return int(number)

    async def _poll_unsettled(self) -> None:
        cursor = await self._connection.execute(
            _queries["still_pending"], {"endpoint_id": self._endpoint_id, "seqs": list(self._unsettled)}
        )
        self._unsettled = {Seq(seq) for (seq,) in await cursor.fetchall()}
        self._next_poll_at = time.monotonic() + _POLL_INTERVAL_SECONDS
        self._on_progress(self)

    async def _insert(self, numbered: Sequence[tuple[Seq, Candidate]]) -> None:
        parameters = {
            "endpoint_id": self._endpoint_id,
            "seqs": [seq for seq, _ in numbered],
            "reservation_ids": [candidate.reservation_id for _, candidate in numbered],
            "newest_seqs": [candidate.newest_seq for _, candidate in numbered],
        }
        async with delivery_log_locked(self._connection, self._endpoint_id):
            cursor = await self._connection.execute(_queries["queue_reservations"], parameters)
            queued = {Seq(seq) for (seq,) in await cursor.fetchall()}
        self.queued += len(queued)
        self._unsettled |= queued
        if time.monotonic() >= self._next_poll_at:
            await self._poll_unsettled()
