"""A load that an endpoint waits for: the reservations it wants, and what is known of them so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.payload.loaded import ROOM_BYTES, Loaded, Reservation
from cdc_bridge.payload.subscription import EVERYTHING, Subscription


class PendingLoad:
    """Some reservations that an endpoint wants loaded. Many such loads share a query."""

    def __init__(
        self,
        reservation_ids: Iterable[ReservationId],
        subscription: Subscription = EVERYTHING,
        *,
        endpoint_id: EndpointId | None = None,
        room_bytes: int = ROOM_BYTES,
    ) -> None:
        """Note what is wanted; must run inside the event loop.

        Args:
            reservation_ids: Their keys.
            subscription: What the endpoint gets.
            endpoint_id: The endpoint; ``None``: a command wants them.
            room_bytes: What is left of :data:`ROOM_BYTES`. What does not fit is postponed.
        """
        self.subscription = subscription
        self.endpoint_id = endpoint_id
        self.room_bytes = room_bytes
        self._left = set(reservation_ids)
        self._reservations: dict[ReservationId, Reservation] = {}
        self._unreadable: dict[ReservationId, str] = {}
        self._alone_at_fault: set[ReservationId] = set()
        self._postponed: set[ReservationId] = set()
        self._filtered: set[ReservationId] = set()
        self._error: Exception | None = None
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._left:
            self._end()

    def wants(self, id_: ReservationId) -> bool:
        """Return whether nothing is known of a reservation yet."""
        return id_ in self._left

    @property
    def is_finished(self) -> bool:
        """Whether everything is known."""
        return self._finished.done()

    async def loaded(self) -> Loaded:
        """Wait until everything is known; return it.

        Raises:
            Exception: It failed.
        """
        await self._finished
        if self._error is not None:
            raise self._error.with_traceback(None)  # Others may raise the same one.
        return Loaded(
            self._reservations,
            self._unreadable,
            frozenset(self._postponed),
            frozenset(self._alone_at_fault),
            frozenset(self._filtered),
        )

    def found(self, reservation: Reservation) -> None:
        """Note that a reservation was loaded."""
        self._reservations[reservation.id] = reservation
        self._reported(reservation.id)

    def unreadable(self, id_: ReservationId, why: str, *, alone_at_fault: bool = False) -> None:
        """Note that a reservation cannot be loaded."""
        self._unreadable[id_] = why
        if alone_at_fault:
            self._alone_at_fault.add(id_)
        self._reported(id_)

    def postponed(self, id_: ReservationId) -> None:
        """Note that a reservation was not loaded now."""
        self._postponed.add(id_)
        self._reported(id_)

    def filtered(self, id_: ReservationId) -> None:
        """Note that the endpoint does not get a reservation."""
        self._filtered.add(id_)
        self._reported(id_)

    def deleted(self, id_: ReservationId) -> None:
        """Note that a reservation was deleted."""
        self._reported(id_)

    def fail(self, error: Exception) -> None:
        """End it with an error, unless it is finished."""
        if not self.is_finished:
            self._error = error
            self._end()

    def abandon(self) -> None:
        """End it, as nobody waits for it."""
        self._end()

    def _reported(self, id_: ReservationId) -> None:
        self._left.discard(id_)
        if not self._left:
            self._end()

    def _end(self) -> None:
        self._left.clear()
        if not self._finished.done():
            self._finished.set_result(None)


Waiting = Mapping[ReservationId, Sequence[PendingLoad]]
"""Reservations, each with the loads that wait for it."""


def report(loads: Iterable[PendingLoad], id_: ReservationId, how: Callable[[PendingLoad, ReservationId], None]) -> None:
    """Report a reservation to those loads that still want it."""
    for pending in loads:
        if pending.wants(id_):
            how(pending, id_)
