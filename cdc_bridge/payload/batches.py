"""Puts the loads of many endpoints together: what is wanted while queries are under way becomes the next query.

A lone load starts at once: there is no timer. Those of the same turn of the event loop, or that come while as many
queries run as may, share a query. None joins a query that has begun: it would get a state of before it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice

from cdc_bridge.model import ReservationId
from cdc_bridge.payload.pending_load import PendingLoad, Waiting

_BATCH = 100


class Batches:
    """Reservations that wait to be loaded, and the queries under way."""

    def __init__(self, load: Callable[[Waiting], Awaitable[None]], most_at_once: int) -> None:
        """Prepare to load.

        Args:
            load: Loads a batch and reports to those who wait; raises nothing.
            most_at_once: Maximum number of batches under way.
        """
        self._load = load
        self._most_at_once = most_at_once
        self._waiting: dict[ReservationId, list[PendingLoad]] = {}
        self._under_way: dict[asyncio.Task[None], Waiting] = {}

    def put(self, pending: PendingLoad, reservation_ids: Iterable[ReservationId]) -> None:
        """Have reservations loaded."""
        for id_ in reservation_ids:
            self._waiting.setdefault(id_, []).append(pending)
        self._start()

    def abandoned(self) -> None:
        """Note that a load was abandoned: a batch that nobody waits for ends."""
        for task, batch in self._under_way.items():
            if batch and all(pending.is_finished for loads in batch.values() for pending in loads):
                task.cancel()

    def _start(self) -> None:
        if self._waiting and len(self._under_way) < self._most_at_once:
            batch: dict[ReservationId, Sequence[PendingLoad]] = {}
            task = asyncio.create_task(self._run(batch))
            self._under_way[task] = batch
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._start()

    async def _run(self, batch: dict[ReservationId, Sequence[PendingLoad]]) -> None:
        batch.update(self._take())
        self._start()
        if batch:
            await self._load(batch)

    def _take(self) -> Waiting:
        batch: dict[ReservationId, Sequence[PendingLoad]] = {}
        for id_ in list(islice(self._waiting, _BATCH)):
            if loads := [pending for pending in self._waiting.pop(id_) if not pending.is_finished]:
                batch[id_] = loads
        return batch
