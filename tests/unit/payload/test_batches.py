"""Putting loads together: what shares a query, what waits for the next one, and what nobody waits for."""

from __future__ import annotations

import asyncio

from cdc_bridge.model import ReservationId
from cdc_bridge.payload.batches import Batches
from cdc_bridge.payload.loaded import Loaded
from cdc_bridge.payload.pending_load import PendingLoad, Waiting


class Loads:
    """Batches as they were begun. Each goes on until it is ended, and then finds nothing."""

    def __init__(self, most_at_once: int = 1) -> None:
        self.batches = Batches(self._load, most_at_once)
        self.begun: list[list[str]] = []
        self.cancelled = 0
        self._ends: list[asyncio.Event] = []

    async def _load(self, waiting: Waiting) -> None:
        self.begun.append(list(waiting))
        end = asyncio.Event()
        self._ends.append(end)
        try:
            await end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        for id_, several in waiting.items():
            for pending in several:
                pending.deleted(id_)

    def want(self, *ids: str) -> tuple[PendingLoad, asyncio.Task[Loaded]]:
        wanted = [ReservationId(id_) for id_ in ids]
        pending = PendingLoad(wanted)
        self.batches.put(pending, wanted)
        return pending, asyncio.create_task(pending.loaded())

    async def end(self, number: int) -> None:
        self._ends[number].set()
        await self.settle()

    @staticmethod
    async def settle() -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def test_lone_load_starts_in_the_next_turn_of_the_loop() -> None:
    loads = Loads()
    loads.want("a")
    await asyncio.sleep(0)
    assert loads.begun == [["a"]]


async def test_loads_of_one_turn_share_a_query_that_reads_each_reservation_once() -> None:
    loads = Loads()
    several = [loads.want("a", "b"), loads.want("b", "c"), loads.want("a")]
    await loads.settle()
    assert loads.begun == [["a", "b", "c"]]
    await loads.end(0)
    assert all(loaded.done() for _, loaded in several)


async def test_load_never_joins_a_query_that_has_begun() -> None:
    loads = Loads()
    _, first = loads.want("a")
    await loads.settle()
    _, second = loads.want("a")
    _, third = loads.want("b")
    await loads.settle()
    assert loads.begun == [["a"]]
    await loads.end(0)
    assert first.done()
    assert not second.done()
    assert loads.begun == [["a"], ["a", "b"]]
    await loads.end(1)
    assert second.done()
    assert third.done()


async def test_as_many_queries_run_as_may_and_each_has_a_hundred_reservations() -> None:
    loads = Loads(most_at_once=2)
    _, loaded = loads.want(*(f"r{number}" for number in range(250)))
    await loads.settle()
    assert [len(batch) for batch in loads.begun] == [100, 100]
    await loads.end(1)
    assert [len(batch) for batch in loads.begun] == [100, 100, 50]
    await loads.end(2)
    assert not loaded.done()
    await loads.end(0)
    assert loaded.done()


async def test_what_nobody_waits_for_any_more_is_not_loaded() -> None:
    loads = Loads()
    loads.want("a")
    await loads.settle()
    abandoned, _ = loads.want("b")
    loads.want("c")
    abandoned.abandon()
    loads.batches.abandoned()
    await loads.end(0)
    assert loads.begun == [["a"], ["c"]]


async def test_query_ends_if_nobody_waits_for_it_and_the_next_begins() -> None:
    loads = Loads()
    first, _ = loads.want("a")
    second, _ = loads.want("b")
    await loads.settle()
    first.abandon()
    loads.batches.abandoned()
    await loads.settle()
    assert loads.cancelled == 0
    loads.want("c")
    second.abandon()
    loads.batches.abandoned()
    await loads.settle()
    assert loads.cancelled == 1
    assert loads.begun == [["a", "b"], ["c"]]


async def test_load_of_nothing_is_finished() -> None:
    loads = Loads()
    pending, loaded = loads.want()
    await loads.settle()
    assert (pending.is_finished, loaded.result(), loads.begun) == (True, Loaded(), [])
