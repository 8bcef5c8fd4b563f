"""Hands over to the queue what is to be delivered: new changes, and retries when they are due."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from cdc_bridge.capture.change_log import Page
from cdc_bridge.capture.position import Position
from cdc_bridge.capture.reader import Reader
from cdc_bridge.model import ReservationId
from cdc_bridge.pipeline.in_flight import DueRetry
from cdc_bridge.pipeline.queue import DeliveryQueue
from cdc_bridge.pipeline.telemetry import Telemetry

_LONGEST_WAIT_SECONDS = 60.0
"""Time until the schedule is read again, in case the notification of a retry made due is lost."""
_LONGEST_WAIT_BESIDE_OTHERS_SECONDS = 5.0
"""The same while deliveries are in flight: when they end, a retry of their reservation may be due, unannounced."""


class Changes(Protocol):
    """The change log."""

    async def read_page(self, position: Position, limit: int) -> Page:
        """Return the changes after a position, at most ``limit`` rows of the log."""


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


class ChangeIntake:
    """Reads the change log a page at a time, and hands the pages over as the queue has room."""

    def __init__(
        self,
        queue: DeliveryQueue,
        changes: Changes,
        reader: Reader,
        position: Position,
        *,
        page_size: int,
        telemetry: Telemetry,
    ) -> None:
        """Prepare to read; must run inside the event loop.

        Args:
            queue: The deliveries in flight.
            changes: The change log.
            reader: This pipeline's side of the wake-up.
            position: Where to begin.
            page_size: Maximum number of changes read at once.
            telemetry: Gets what is read.
        """
        self._queue = queue
        self._changes = changes
        self._position = position
        self._page_size = page_size
        self._telemetry = telemetry
        self.reader = reader
        self.read_at = asyncio.get_running_loop().time()
        """Time of the last read of the log, by the event loop's clock."""

    async def run(self) -> None:
        """Hand over changes, until cancelled."""
        queue = self._queue
        while True:
            if not queue.has_room:
                with self.reader.blocked():
                    await queue.until(lambda: queue.has_room)
            with queue.reading() as delivered_meanwhile:
                page = await self._changes.read_page(self._position, self._page_size)
                self._telemetry.read([logged.change for logged in page.changes if not logged.recorded])
                queue.hand_over(page, delivered_meanwhile)
            self._position = page.position
            self.read_at = asyncio.get_running_loop().time()
            if page.changes:
                self.reader.found()
            if page.at_end:
                await self.reader.until_woken()


class RetryIntake:
    """Hands over retries when they are due."""

    def __init__(self, queue: DeliveryQueue, retries: Retries) -> None:
        self._queue = queue
        self._retries = retries

    async def run(self) -> None:
        """Hand over retries, until cancelled."""
        queue = self._queue
        queue.hold_back_retries(await self._retries.with_newer_unread())
        while True:
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
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._queue.schedule_changed.wait()
