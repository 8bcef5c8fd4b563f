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
from collections.abc import Collection

from cdc_bridge.model import Delivery, ReservationId, Seq


def _seq(delivery: Delivery) -> Seq:
    return delivery.change.seq


class Lanes:
    """The deliveries an endpoint has in memory, by reservation."""

    def __init__(self) -> None:
        self._queued: dict[ReservationId, list[Delivery]] = {}
        self._ready: deque[ReservationId] = deque()
        self._delivered_during_read: dict[ReservationId, Seq] | None = None

    def reservations(self) -> Collection[ReservationId]:
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

    def replaced_by(self, newest: Delivery) -> list[Delivery]:
        """Take out the queued deliveries of its reservation that are older."""
        lane = self._queued.get(newest.change.reservation_id, [])
        older = [queued for queued in lane if _seq(queued) < _seq(newest)]
        del lane[: len(older)]
        return older

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
        if self._delivered_during_read is not None:
            self._delivered_during_read[reservation_id] = seq
        return self.replaced_by(delivered)

    def begin_read(self) -> None:
        """Remember from now on what is accepted: the page being read may not know of it."""
        self._delivered_during_read = {}

    def overtook(self, delivery: Delivery) -> bool:
        """Say whether a newer delivery of the reservation was accepted since the read began."""
        accepted = self._delivered_during_read or {}
        return accepted.get(delivery.change.reservation_id, 0) > delivery.change.seq

    def end_read(self) -> None:
        """Forget what was remembered: the page is queued."""
        self._delivered_during_read = None
