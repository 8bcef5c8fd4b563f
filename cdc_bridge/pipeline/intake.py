"""Hands over to the queue the deliveries that are to be retried, when they are due."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from cdc_bridge.model import ReservationId
from cdc_bridge.pipeline.in_flight import DueRetry
from cdc_bridge.pipeline.queue import DeliveryQueue
from cdc_bridge.tasks import wait_for_event

_LONGEST_WAIT_SECONDS = 60.0
"""Time until the schedule is read again, in case the notification of a retry made due is lost."""
_LONGEST_WAIT_BESIDE_OTHERS_SECONDS = 5.0
"""The same while deliveries are in flight: when they end, a retry of their reservation may be due, unannounced."""


class Retries(Protocol):
    """The delivery log, as far as deliveries in it have to be retried."""

    async def with_newer_unread(self) -> Collection[ReservationId] | None:
        """Return the reservations with a delivery to retry and a newer change after the recorded position.

        ``None``: there are more than are good to keep in memory.
        """

    async def seconds_until_next_due(self, occupied: Collection[ReservationId]) -> float | None:
        """Return the time until the next retry of no ``occupied`` reservation; ``None``: there is none."""

    async def due_retries(self, occupied: Collection[ReservationId], limit: int) -> list[DueRetry]:
        """Return deliveries whose next attempt is due, but none of the ``occupied`` reservations."""


class RetryIntake:
    """Hands over retries when they are due."""

    def __init__(self, queue: DeliveryQueue, retries: Retries, *, caught_up: bool) -> None:
        """Prepare to hand over.

        Args:
            queue: The deliveries in flight.
            retries: The delivery log.
            caught_up: Whether the change log was read to its end under this lease already.
        """
        self._queue = queue
        self._retries = retries
        self._caught_up = caught_up
        self.waiting = False
        """Whether nothing is due now."""

    async def run(self) -> None:
        """Hand over retries, until cancelled."""
        queue = self._queue
        if not self._caught_up:
            queue.hold_back_retries(await self._retries.with_newer_unread())
        while True:
            self.waiting = False
            queue.schedule_changed.clear()
            await queue.until(lambda: queue.room_for_retries > 0)
            occupied = queue.occupied()
            seconds = await self._retries.seconds_until_next_due(occupied)
            if seconds is None or seconds > 0:
                longest = _LONGEST_WAIT_BESIDE_OTHERS_SECONDS if occupied else _LONGEST_WAIT_SECONDS
                await self._wait_for_schedule(longest if seconds is None else min(seconds, longest))
                continue
            with queue.reading() as delivered_meanwhile:
                due = await self._retries.due_retries(queue.occupied(), queue.room_for_retries)
                queue.hand_over_due(due, delivered_meanwhile)

    async def _wait_for_schedule(self, within_seconds: float) -> None:
        self.waiting = True
        await wait_for_event(self._queue.schedule_changed, within_seconds)
