"""What an endpoint does not get is skipped: filtered, of an event that it does not get, or unchanged."""

from __future__ import annotations

from dataclasses import replace

from cdc_bridge.model import Change, DeliveryState, Events, Operation, ReservationId, SkipReason
from cdc_bridge.pipeline.in_flight import DueRetry
from cdc_bridge.transport.message import body_hash
from tests.unit.pipeline.scripted import OK, UNAVAILABLE, ScriptedPipeline, change
from tests.unit.pipeline.virtual_time import in_virtual_time

SAME = body_hash(b"  ")  # What the scripted store loads.


def created(seq: int, reservation: str = "r") -> Change:
    return replace(change(seq, reservation), operation=Operation.CREATED)


def reasons(run: ScriptedPipeline) -> dict[int, SkipReason | None]:
    return {delivery.change.seq: delivery.skip_reason for batch in run.store.batches for delivery in batch}


@in_virtual_time
async def test_filtered_reservation_is_skipped_and_says_so() -> None:
    async with ScriptedPipeline() as run:
        run.store.filtered = {"other"}
        run.store.deleted = {"gone"}
        run.store.commit(change(1, "r"), change(2, "other"), change(3, "gone"))
        await run.until(lambda: len(run.store.states) == 3)
    assert run.transport.seqs == [1]
    assert reasons(run) == {1: None, 2: SkipReason.FILTERED, 3: SkipReason.DELETED}


@in_virtual_time
async def test_filtered_reservation_as_a_probe_does_not_keep_the_endpoint_shut() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: UNAVAILABLE
        run.store.commit(change(1, "r"))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        run.store.filtered = {"other"}
        run.store.commit(change(2, "other"), change(3, "third"))
        run.transport.script = lambda _: OK
        await run.until(lambda: len(run.store.states) == 3)
    assert run.store.states == {1: "delivered", 2: "skipped", 3: "delivered"}


@in_virtual_time
async def test_event_that_the_endpoint_does_not_get_is_not_even_loaded() -> None:
    async with ScriptedPipeline(events=Events.CREATED) as run:
        run.store.commit(created(1, "a"), change(2, "b"))
        await run.until(lambda: len(run.store.states) == 2)
    assert run.store.loaded == [["a"]]
    assert reasons(run) == {1: None, 2: SkipReason.EVENT}


@in_virtual_time
async def test_unchanged_body_is_skipped() -> None:
    async with ScriptedPipeline(skip_unchanged=True) as run:
        await run.until(lambda: run.pipeline.at_rest)
        run.store.bodies = {"same": SAME, "other": "0123456789abcdef"}
        run.store.commit(change(1, "same"), change(2, "other"), change(3, "new"))
        await run.until(lambda: len(run.store.states) == 3)
    assert sorted(run.transport.seqs) == [2, 3]
    assert reasons(run) == {1: SkipReason.UNCHANGED, 2: None, 3: None}


@in_virtual_time
async def test_nobody_asks_for_last_bodies_without_the_option() -> None:
    async with ScriptedPipeline() as run:
        await run.until(lambda: run.pipeline.at_rest)
        run.store.bodies = {"same": SAME}
        run.store.commit(change(1, "same"))
        await run.until(lambda: len(run.store.states) == 1)
    assert run.transport.seqs == [1]
    assert run.store.asked_for_bodies == []


@in_virtual_time
async def test_what_was_in_the_log_at_the_start_is_sent_though_unchanged() -> None:
    """The daemon before may have sent another body in between, and died before it recorded that."""
    async with ScriptedPipeline(skip_unchanged=True) as run:
        run.store.bodies = {"same": SAME}
        run.store.commit(change(1, "same"))
        await run.until(lambda: len(run.store.states) == 1)
    assert run.transport.seqs == [1]


@in_virtual_time
async def test_retry_is_sent_though_unchanged() -> None:
    """Somebody queued it, or an attempt failed that may have arrived."""
    async with ScriptedPipeline(skip_unchanged=True) as run:
        await run.until(lambda: run.pipeline.at_rest)
        run.store.bodies = {"same": SAME}
        run.store.retry_in(0.0, DueRetry(change(1, "same"), 0, 0, overtaken=False))
        run.pipeline.look_at_schedule()
        await run.until(lambda: len(run.store.states) == 1)
    assert run.transport.seqs == [1]


@in_virtual_time
async def test_attempt_that_failed_is_repeated_though_the_body_is_that_of_before_again() -> None:
    async with ScriptedPipeline(skip_unchanged=True) as run:
        await run.until(lambda: run.pipeline.at_rest)
        run.transport.script = lambda _: UNAVAILABLE
        run.store.commit(change(1, "r"))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        run.store.bodies = {ReservationId("r"): SAME}
        run.transport.script = lambda _: OK
        await run.until(lambda: len(run.store.states) == 1)
    assert len(run.transport.sent) > 1
    assert run.store.recorded == [(1, DeliveryState.DELIVERED.value)]


@in_virtual_time
async def test_body_that_was_withheld_in_the_end_may_have_been_sent_before() -> None:
    """A request that met a dead connection is repeated at once. If the lease ends in between, it may have arrived."""
    async with ScriptedPipeline(skip_unchanged=True) as run:
        await run.until(lambda: run.pipeline.at_rest)
        run.transport.withheld = 1
        run.transport.on_withheld = lambda: run.store.bodies.update({ReservationId("r"): SAME})
        run.store.commit(change(1, "r"))
        await run.until(lambda: len(run.store.states) == 1)
    assert run.transport.seqs == [1]
