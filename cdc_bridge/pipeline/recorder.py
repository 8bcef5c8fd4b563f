"""Writes settled deliveries to the delivery log, many in one transaction.

While one transaction is under way the next deliveries gather. So batches grow by themselves under load, and a delivery
of an idle endpoint is recorded at once. With them go the attempts that are kept, also of deliveries that are held.

A batch that the delivery log rejects is halved until the delivery at fault is found. That one is set aside and tried
again later, and it is named in the log and in the endpoint's problem. Until it is recorded it holds its reservation and
the position, and nothing else: it is neither lost nor sent again while this daemon has the endpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from cdc_bridge.backoff import Backoff
from cdc_bridge.capture.position import Position
from cdc_bridge.errors import RowsLocked, StatementFailed
from cdc_bridge.pipeline.in_flight import InFlight, KeptAttempt
from cdc_bridge.pipeline.queue import DeliveryQueue
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.tasks import wait_for_event

_BATCH_LIMIT = 1000

_LOCKED_AGAIN_AFTER_SECONDS = 2.0
_TRY_AGAIN = Backoff(first_seconds=5.0, longest_seconds=300.0)


class Records(Protocol):
    """The delivery log, as it is written."""

    async def record(
        self,
        deliveries: Sequence[InFlight],
        position: Position,
        attempts: Sequence[KeptAttempt] = (),
        *,
        alone: bool = False,
    ) -> None:
        """Write deliveries, and the position that they allow, in one transaction.

        Args:
            deliveries: The deliveries.
            position: The position.
            attempts: Attempts to keep, if that can be done; no error is raised for them.
            alone: Whether rows of them were locked before.

        Raises:
            LeaseLost: Another daemon has acquired the lease; nothing was written.
            StatementFailed: The statement or one of the deliveries is at fault; nothing was written.
            RowsLocked: Somebody has locked a delivery; nothing was written.
        """


class Recorder:
    """Records an endpoint's deliveries and moves its position."""

    def __init__(self, queue: DeliveryQueue, records: Records, telemetry: Telemetry) -> None:
        """Prepare to record; must run inside the event loop.

        Args:
            queue: The deliveries in flight.
            records: Where they are recorded.
            telemetry: Gets what is recorded, and what cannot be.
        """
        self._queue = queue
        self._records = records
        self._telemetry = telemetry
        self._now = asyncio.get_running_loop().time
        self._set_aside: dict[InFlight, str] = {}
        """Deliveries that cannot be recorded, and why."""
        self._locked: str | None = None
        """Why nothing can be recorded at present, if somebody has locked rows."""
        self._failures = 0
        self._try_again_at: float | None = None
        self.busy_since: float | None = None
        """Start of the write in progress, by the event loop's clock; ``None``: everything is recorded."""

    @property
    def problem(self) -> str | None:
        """What cannot be recorded, and why; ``None``: everything can."""
        if not self._set_aside:
            return self._locked
        delivery, reason = next(iter(self._set_aside.items()))
        others = len(self._set_aside) - 1
        which = f"delivery {delivery.change.seq}" + (f" and {others:,} more" if others else "")
        return f"{which} cannot be recorded: {reason}"

    async def run(self) -> None:
        """Record what is settled, until cancelled.

        Raises:
            LeaseLost: Another daemon has acquired the lease.
            StatementFailed: Nothing can be recorded, whatever the delivery.
        """
        while True:
            again_in_seconds = None if self._try_again_at is None else self._try_again_at - self._now()
            await wait_for_event(self._queue.unrecorded, again_in_seconds)
            if self._try_again_at is not None and self._now() >= self._try_again_at:
                await self._record_again()
            if self._queue.unrecorded.is_set():
                await self._record(self._queue.next_batch(_BATCH_LIMIT))

    async def _record_again(self) -> None:
        deliveries, self._try_again_at = list(self._set_aside), None
        for start in range(0, len(deliveries), _BATCH_LIMIT):
            await self._record(deliveries[start : start + _BATCH_LIMIT])
        if not self._set_aside:
            self._failures = 0

    async def _record(self, batch: Sequence[InFlight]) -> None:
        recorded: list[InFlight] = []
        await self._record_halves(batch, recorded)
        self.busy_since = None
        self._queue.recorded(recorded)
        for delivery in recorded:
            self._set_aside.pop(delivery, None)
            self._telemetry.recorded(delivery)
        if self._set_aside and self._try_again_at is None:
            self._failures += 1
            self._try_again_at = self._now() + _TRY_AGAIN.pause_seconds(self._failures)

    async def _record_halves(self, batch: Sequence[InFlight], recorded: list[InFlight]) -> None:
        """Record a part of a batch, and add what is recorded to what was before it."""
        try:
            await self._write(batch, recorded)
        except StatementFailed as failure:
            if len(batch) > 1:
                half = len(batch) // 2
                await self._record_halves(batch[:half], recorded)
                await self._record_halves(batch[half:], recorded)
                return
            if not recorded:
                await self._write((), recorded)  # If that fails as well, no delivery is at fault.
            for delivery in batch:
                if self._set_aside.get(delivery) != failure.problem:
                    self._telemetry.not_recorded(delivery, failure.problem)
                self._set_aside[delivery] = failure.problem
        else:
            recorded += batch

    async def _write(self, batch: Sequence[InFlight], recorded: Sequence[InFlight]) -> None:
        while True:
            self.busy_since = self._now()
            attempts = self._queue.next_attempts()
            position = self._queue.position_with([*recorded, *batch])
            try:
                await self._records.record(batch, position, attempts, alone=self._locked is not None)
            except RowsLocked as error:
                self._locked = error.problem
                await asyncio.sleep(_LOCKED_AGAIN_AFTER_SECONDS)
            else:
                self._locked = None
                self._queue.attempts_kept(attempts)
                return
