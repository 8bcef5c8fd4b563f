"""Writes settled deliveries to the delivery log, many in one transaction.

While one transaction is under way the next deliveries gather. So batches grow by themselves under load, and a delivery
of an idle endpoint is recorded at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from cdc_bridge.capture.position import Position
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.pipeline.queue import DeliveryQueue
from cdc_bridge.pipeline.telemetry import Telemetry

_BATCH_LIMIT = 1000


class Records(Protocol):
    """The delivery log, as it is written."""

    async def record(self, deliveries: Sequence[InFlight], position: Position) -> None:
        """Write deliveries, and the position that they allow, in one transaction.

        Raises:
            LeaseLost: Another daemon has acquired the lease; nothing was written.
        """


class Recorder:
    """Records an endpoint's deliveries and moves its position."""

    def __init__(self, queue: DeliveryQueue, records: Records, telemetry: Telemetry) -> None:
        self._queue = queue
        self._records = records
        self._telemetry = telemetry
        self.busy_since: float | None = None
        """Start of the write in progress, by the event loop's clock; ``None``: everything is recorded."""

    async def run(self) -> None:
        """Record what is settled, until cancelled.

        Raises:
            LeaseLost: Another daemon has acquired the lease.
        """
        now = asyncio.get_running_loop().time
        while True:
            await self._queue.unrecorded.wait()
            self.busy_since = now()
            batch, position = self._queue.next_batch(_BATCH_LIMIT)
            await self._records.record(batch, position)
            self._queue.recorded(batch)
            self.busy_since = None
            for delivery in batch:
                self._telemetry.recorded(delivery)
