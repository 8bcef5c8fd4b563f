"""Which attempts are kept: all but a first one that succeeds, whatever becomes of their delivery."""

from __future__ import annotations

import asyncio

import pytest

from cdc_bridge.errors import RowsLocked, StatementFailed
from cdc_bridge.model import Seq
from cdc_bridge.pipeline.delivery_log_writer import DeliveryLogWriter
from cdc_bridge.pipeline.in_flight import DueRetry, InFlight, KeptAttempt
from cdc_bridge.pipeline.queue import DeliveryQueue
from cdc_bridge.transport.message import Message
from cdc_bridge.transport.outcome import Attempt, Outcome
from tests.unit.pipeline.scripted import GONE, INVALID, NOW, OK, UNAVAILABLE, ScriptedPipeline, change, position
from tests.unit.pipeline.test_delivery_log_writer import Bench
from tests.unit.pipeline.virtual_time import in_virtual_time


class InTurn:
    """Gives the requests one outcome after the other, and the last one to all that follow."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = list(outcomes)

    def __call__(self, _: Message) -> Outcome:
        return self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]


def kept(run: ScriptedPipeline) -> list[tuple[int, int, int | None]]:
    """Return number of the delivery, number and status of each attempt."""
    return [(one.change.seq, one.number, one.attempt.outcome.status) for one in run.store.attempts]


@in_virtual_time
async def test_first_attempt_that_succeeds_is_not_kept() -> None:
    async with ScriptedPipeline() as run:
        run.store.commit(change(1), change(2, "other"))
        await run.until_recorded(1, 2)
    assert kept(run) == []


@in_virtual_time
async def test_failed_attempts_and_the_one_that_succeeds_after_them_are_kept() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = InTurn(INVALID, INVALID, OK)
        run.store.commit(change(1))
        await run.until_recorded(1)
    assert kept(run) == [(1, 1, 422), (1, 2, 422), (1, 3, 200)]


@in_virtual_time
async def test_attempts_of_a_held_delivery_are_written_before_it_is_settled() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: UNAVAILABLE
        run.store.commit(change(1))
        await run.until(lambda: len(run.store.attempts) >= 3)
        assert run.store.states == {}
        run.transport.script = lambda _: OK
        await run.until_recorded(1)
    assert [number for _, number, _ in kept(run)] == [*range(1, len(run.store.attempts) + 1)]
    assert kept(run)[-1][2] == 200


@in_virtual_time
async def test_repeated_delivery_has_its_attempt_kept_although_it_succeeds_at_once() -> None:
    async with ScriptedPipeline() as run:
        run.store.retry_in(0.0, DueRetry(change(1), attempts=1, failures=0, overtaken=False))
        await run.until_recorded(1)
    assert kept(run) == [(1, 2, 200)]


@in_virtual_time
async def test_attempt_after_one_for_which_nothing_could_be_loaded_is_kept() -> None:
    async with ScriptedPipeline() as run:
        run.store.unreadable = {"r"}
        run.store.commit(change(1), change(2, "other"))
        await run.until_recorded(2)
        await run.until_recorded(1, state="retrying")
        run.store.unreadable = set()
        await run.until_recorded(1)
    assert kept(run) == [(1, 0, None), (1, 1, 200)]
    assert run.store.attempts[0].attempt.message_id is None


@in_virtual_time
async def test_attempt_that_ends_the_deliveries_is_written_before_the_pipeline_ends() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: GONE
        run.store.commit(change(1))
        await run.ended()
    assert kept(run) == [(1, 1, 410)]
    assert run.store.states == {}


@in_virtual_time
async def test_attempts_wait_while_nothing_can_be_recorded_and_none_is_written_twice() -> None:
    async with ScriptedPipeline() as run:
        run.store.locks = True
        run.transport.script = lambda _: UNAVAILABLE
        run.store.commit(change(1))
        await run.until(lambda: len(run.transport.sent) >= 4)
        assert kept(run) == []
        run.store.locks = False
        await run.until(lambda: len(run.store.attempts) >= 4)
    assert [number for _, number, _ in kept(run)][:4] == [1, 2, 3, 4]


@in_virtual_time
async def test_attempts_go_with_what_can_be_recorded_if_one_delivery_cannot() -> None:
    async with ScriptedPipeline() as run:
        run.store.rejected = {1}
        run.transport.script = lambda _: INVALID
        run.store.commit(change(1, "a"), change(2, "b"), change(3, "c"))
        await run.until(lambda: len(run.store.attempts) >= 3)
        run.store.rejected = set()
        run.transport.script = lambda _: OK
        await run.until_recorded(1, 2, 3)
    assert len({(seq, number) for seq, number, _ in kept(run)}) == len(kept(run))


async def test_only_so_many_attempts_wait_and_the_oldest_are_forgotten() -> None:
    queue = DeliveryQueue(position(0), window=10, page_size=5)
    delivery = InFlight(change(1))
    for number in range(1, 1201):
        delivery.attempts = number
        queue.keep_attempt(delivery, Attempt(None, NOW, 0.0, UNAVAILABLE))
    numbers: list[int] = []
    while queue.unrecorded.is_set():
        queue.next_batch(10)
        batch = queue.next_attempts()
        assert len(batch) <= 200
        numbers += [one.number for one in batch]
        queue.attempts_kept(batch)
    assert numbers == [*range(201, 1201)]


async def test_attempt_that_was_forgotten_while_it_was_written_takes_no_other_with_it() -> None:
    queue = DeliveryQueue(position(0), window=10, page_size=5)
    delivery, attempt = InFlight(change(1)), Attempt(None, NOW, 0.0, UNAVAILABLE)
    for _ in range(1000):
        queue.keep_attempt(delivery, attempt)
    batch = queue.next_attempts()
    queue.keep_attempt(delivery, attempt)
    queue.attempts_kept(batch)
    waiting = 0
    while left := queue.next_attempts():
        waiting += len(left)
        queue.attempts_kept(left)
    assert waiting == 801


def attempt(seq: int) -> KeptAttempt:
    return KeptAttempt(change(seq), 1, Attempt("1-0", NOW, 0.1, INVALID))


@in_virtual_time
async def test_attempts_are_written_in_the_transaction_of_their_deliveries() -> None:
    bench = Bench()
    first = asyncio.create_task(bench.writer.record(bench.leases[0], bench.deliveries(1), lambda: None, [attempt(1)]))
    second = asyncio.create_task(bench.writer.record(bench.leases[1], (), lambda: None, [attempt(7)]))
    await asyncio.gather(first, second)
    assert bench.database.transactions == 1
    assert [key for key, _ in bench.world.attempts] == [
        (bench.leases[0].endpoint_id, 1),
        (bench.leases[1].endpoint_id, 7),
    ]


@in_virtual_time
@pytest.mark.parametrize("how", ["rejects_attempts", "locks_attempts"])
async def test_attempts_that_cannot_be_written_are_given_up_for_a_minute(how: str) -> None:
    bench = Bench()
    setattr(bench.world, how, True)

    async def record(writer: DeliveryLogWriter, seq: int) -> int:
        before = bench.database.transactions
        await writer.record(bench.leases[0], bench.deliveries(1), lambda: None, [attempt(seq)])
        return bench.database.transactions - before

    assert [await record(bench.writer, seq) for seq in (1, 2, 3)] == [2, 1, 1]
    setattr(bench.world, how, False)
    await asyncio.sleep(60)
    assert await record(bench.writer, 4) == 1
    assert len(bench.recorded) == 4
    assert [key[1] for key, _ in bench.world.attempts] == [Seq(4)]


@in_virtual_time
async def test_attempts_are_not_blamed_for_a_delivery_that_cannot_be_written() -> None:
    bench = Bench()
    faulty, locked, well = bench.deliveries(1), bench.deliveries(1), bench.deliveries(1)
    bench.world.rejected = {(bench.leases[0].endpoint_id, faulty[0].change.seq)}
    bench.world.locked_deliveries = {bench.leases[1].endpoint_id}
    tasks = [
        asyncio.create_task(bench.writer.record(lease, deliveries, lambda: None, [attempt(deliveries[0].change.seq)]))
        for lease, deliveries in zip(bench.leases, (faulty, locked, well), strict=False)
    ]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [StatementFailed, RowsLocked, type(None)]
    assert [key for key, _ in bench.world.attempts] == [(bench.leases[2].endpoint_id, well[0].change.seq)]
