"""Order per reservation: a lane each, in which one delivery at a time is under way.

A lane is occupied from the moment its first delivery is taken until that one's settlement is *recorded*, not only
answered: were the daemon killed in between, the delivery would be made again, and must not come
after a newer one of the same reservation. Different reservations do not wait for one another.

Inside a lane the order is that of ``seq``, whatever the order of arrival: a transaction that began early and
committed late has a low id but high numbers.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from cdc_bridge.capture.position import Snapshot
from cdc_bridge.model import Delivery, ReservationId, Seq


def _seq(delivery: Delivery) -> Seq:
    return delivery.change.seq


class Watch(dict[ReservationId, Seq]):
    """What was accepted since it began: the last change of each reservation."""

    def overtook(self, delivery: Delivery) -> bool:
        """Say whether a newer delivery of the reservation was accepted."""
        return self.get(delivery.change.reservation_id, 0) > delivery.change.seq


class Lanes:
    """The deliveries an endpoint has in memory, by reservation."""

    def __init__(self) -> None:
        self._queued: dict[ReservationId, list[Delivery]] = {}
        self._ready: deque[ReservationId] = deque()
        self._watches: list[Watch] = []

    def reservations(self) -> AbstractSet[ReservationId]:
        """Return the reservations that have a delivery queued or under way."""
        return self._queued.keys()

    @property
    def next_ready(self) -> ReservationId | None:
        """The reservation whose delivery would be taken next, if one may be."""
        return self._ready[0] if self._ready else None

    def add(self, delivery: Delivery) -> None:
        """Queue a delivery behind those of its reservation with lower numbers."""
        reservation_id = delivery.change.reservation_id
        lane = self._queued.get(reservation_id)
        if lane is None:
            self._queued[reservation_id] = [delivery]
            self._ready.append(reservation_id)
        else:
            insort(lane, delivery, key=_seq)

    def take(self, limit: int) -> list[Delivery]:
        """Take the first delivery of each of up to ``limit`` free lanes, which are occupied from now on."""
        count = min(limit, len(self._ready))
        return [self._queued[self._ready.popleft()].pop(0) for _ in range(count)]

    def take_of(self, reservation_id: ReservationId) -> Delivery:
        """Take the first delivery of a reservation that is ready or held."""
        if reservation_id in self._ready:
            self._ready.remove(reservation_id)
        return self._queued[reservation_id].pop(0)

    def hold(self, delivery: Delivery) -> None:
        """Put a delivery that was taken back into its lane, which stays closed until it is opened or taken of."""
        insort(self._queued[delivery.change.reservation_id], delivery, key=_seq)

    def open(self, reservation_id: ReservationId) -> None:
        """Let the deliveries of a held reservation be taken again, after those that were never refused."""
        self._ready.append(reservation_id)

    def release(self, delivery: Delivery) -> None:
        """Free the lane of a delivery that was taken, now that its settlement is recorded."""
        reservation_id = delivery.change.reservation_id
        if self._queued[reservation_id]:
            self._ready.append(reservation_id)
        else:
            del self._queued[reservation_id]

    def overtaken_by(self, delivered: Delivery) -> list[Delivery]:
        """Take out the queued deliveries of a reservation that are older than one that was accepted."""
        reservation_id, seq = delivered.change.reservation_id, delivered.change.seq
        for watch in self._watches:
            watch[reservation_id] = seq
        return self._take_out(reservation_id, lambda queued: queued.change.seq < seq)

    def covered_by(self, delivered: Delivery, seen: Snapshot) -> list[Delivery]:
        """Take out the queued deliveries of a reservation whose changes an accepted body held already.

        Args:
            delivered: the delivery that was accepted.
            seen: the snapshot in which its body was loaded.
        """
        return self._take_out(
            delivered.change.reservation_id, lambda queued: queued.xid is not None and seen.sees(queued.xid)
        )

    def _take_out(self, reservation_id: ReservationId, wanted: Callable[[Delivery], bool]) -> list[Delivery]:
        lane = self._queued.get(reservation_id, [])
        taken_out = [queued for queued in lane if wanted(queued)]
        lane[:] = [queued for queued in lane if not wanted(queued)]
        return taken_out

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Note what is accepted from now on: a page that is being read may not know of it."""
        watch = Watch()
        self._watches.append(watch)
        try:
            yield watch
        finally:
            # Not remove(): two watches that saw the same are equal, and it would take out the other one.
            self._watches = [other for other in self._watches if other is not watch]
