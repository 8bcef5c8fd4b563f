"""Brings settlements into the ledger, many in one transaction.

While one transaction is on its way the next settlements gather, so under load the batches grow by themselves and
when idle a settlement is recorded at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from cdc_bridge.database import Database
from cdc_bridge.model import EndpointId
from cdc_bridge.pipeline.delivery_log import record
from cdc_bridge.pipeline.progress import Progress
from cdc_bridge.pipeline.settlement import Settlement

_BATCH_LIMIT = 1000


class Recorder:
    """Records an endpoint's settlements and moves its position."""

    def __init__(
        self,
        database: Database,
        endpoint_id: EndpointId,
        fencing_token: int,
        progress: Progress,
        recorded: Callable[[Settlement], None],
    ) -> None:
        """Prepare to record.

        Args:
            database: where the ledger is.
            endpoint_id: whose.
            fencing_token: of the lease under which it is called.
            progress: says which position the settlements allow.
            recorded: is told of each settlement once it is in the ledger.
        """
        self._database = database
        self._endpoint_id = endpoint_id
        self._fence = fencing_token
        self._progress = progress
        self._recorded = recorded
        self._pending: list[Settlement] = []
        self._to_move = False
        self.busy_since: float | None = None
        """Since when, by the event loop's clock, there is something to record; ``None``: all is recorded."""
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, settlement: Settlement) -> None:
        """Take a settlement to be recorded."""
        self._pending.append(settlement)
        self._begin()

    def move(self) -> None:
        """Have the position moved though nothing is to be settled."""
        self._to_move = True
        self._begin()

    def _begin(self) -> None:
        if self.busy_since is None:
            self.busy_since = asyncio.get_running_loop().time()
        self._idle.clear()
        self._work.set()

    async def run(self) -> None:
        """Record what is put, until cancelled.

        Raises:
            LeaseLost: another daemon has taken the endpoint.
        """
        while True:
            await self._work.wait()
            batch, self._pending = self._pending[:_BATCH_LIMIT], self._pending[_BATCH_LIMIT:]
            self._to_move = False
            for settlement in batch:
                self._progress.settle(settlement.change.seq)
            position = self._progress.reached()
            await self._database.patiently(
                partial(
                    record,
                    endpoint_id=self._endpoint_id,
                    fencing_token=self._fence,
                    settlements=batch,
                    position=position,
                )
            )
            for settlement in batch:
                self._recorded(settlement)
            if not self._pending and not self._to_move:
                self._work.clear()
                self._idle.set()
                self.busy_since = None

    async def flush(self) -> None:
        """Wait until all that was put is recorded."""
        await self._idle.wait()
