"""The bytes of large bodies in memory are bounded, and what finds no room delays nothing else."""

from __future__ import annotations

import asyncio

import pytest

from cdc_bridge.payload.loaded import ROOM_BYTES, SMALL_BYTES
from cdc_bridge.transport.message import Message
from cdc_bridge.transport.outcome import Outcome
from tests.unit.pipeline.scripted import INVALID, OK, UNAVAILABLE, ScriptedPipeline, change
from tests.unit.pipeline.virtual_time import in_virtual_time

MOST_OF_THE_ROOM = ROOM_BYTES * 2 // 3


@in_virtual_time
async def test_large_body_that_finds_no_room_waits_for_the_request_before_it_and_small_ones_do_not() -> None:
    async with ScriptedPipeline(max_in_flight=10) as run:
        run.store.body_bytes = {"a": MOST_OF_THE_ROOM, "b": MOST_OF_THE_ROOM, "c": SMALL_BYTES}
        run.transport.gate.shut()
        run.store.commit(change(1, "a"), change(2, "b"), change(3, "c"), change(4, "d"), change(5, "b"))
        await run.until(lambda: run.transport.gate.waiting == 3)
        await asyncio.sleep(100)
        assert sorted(run.transport.seqs) == [1, 3, 4]
        run.transport.gate.open()
        await run.until_recorded(1, 2, 3, 4, 5)
    assert run.transport.seqs.index(2) < run.transport.seqs.index(5)


@in_virtual_time
@pytest.mark.parametrize("number", [2, 40])
async def test_bytes_of_large_bodies_never_exceed_the_room(number: int) -> None:
    async with ScriptedPipeline(max_in_flight=16) as run:
        run.store.body_bytes = {f"r{seq}": ROOM_BYTES // 5 for seq in range(number)}
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(number)))
        await run.until_recorded(*range(number))
    assert max(run.store.bytes_loaded) <= ROOM_BYTES
    assert run.transport.most_under_way == min(number, 5)


@in_virtual_time
async def test_body_that_is_larger_than_the_room_is_sent_while_there_is_no_other() -> None:
    async with ScriptedPipeline() as run:
        run.store.body_bytes = {"a": 2 * ROOM_BYTES, "b": 2 * ROOM_BYTES}
        run.store.commit(change(1, "a"), change(2, "b"))
        await run.until_recorded(1, 2)
    assert run.transport.most_under_way == 1


@in_virtual_time
@pytest.mark.parametrize("outcome", [INVALID, UNAVAILABLE])
async def test_room_is_free_again_whatever_became_of_the_request(outcome: Outcome) -> None:
    async with ScriptedPipeline() as run:
        run.store.body_bytes = {"a": MOST_OF_THE_ROOM, "b": MOST_OF_THE_ROOM}

        def script(message: Message) -> Outcome:
            return outcome if message.subject == "a" and run.transport.seqs.count(1) == 1 else OK

        run.transport.script = script
        run.store.commit(change(1, "a"), change(2, "b"))
        await run.until_recorded(1, 2)


@in_virtual_time
async def test_room_is_counted_once_for_a_request_that_the_end_of_the_lease_delayed() -> None:
    async with ScriptedPipeline() as run:
        run.store.body_bytes = {"a": MOST_OF_THE_ROOM, "b": MOST_OF_THE_ROOM}
        run.transport.withheld = 3
        run.store.commit(change(1, "a"), change(2, "b"))
        await run.until_recorded(1, 2)
    assert max(run.store.bytes_loaded) <= ROOM_BYTES


@in_virtual_time
async def test_reservation_that_is_deleted_while_it_is_set_aside_is_skipped() -> None:
    async with ScriptedPipeline() as run:
        run.store.body_bytes = {"a": MOST_OF_THE_ROOM, "b": MOST_OF_THE_ROOM}
        run.transport.gate.shut()
        run.store.commit(change(1, "a"), change(2, "b"))
        await run.until(lambda: run.transport.gate.waiting == 1)
        run.store.deleted = {"b"}
        run.transport.gate.open()
        await run.until_recorded(1)
        await run.until_recorded(2, state="skipped")


@in_virtual_time
@pytest.mark.parametrize("delayed", [0, 1])
async def test_reservation_that_vanishes_between_measuring_and_loading_is_looked_at_again_at_once(delayed: int) -> None:
    """Also where the end of the lease delayed its request, and no other one is there to end."""
    async with ScriptedPipeline() as run:
        run.transport.withheld = delayed
        run.store.vanishing = {"a": delayed}
        run.store.commit(change(1, "a"))
        await run.until_recorded(1, state="skipped")
        assert run.transport.sent == []


@in_virtual_time
async def test_all_that_were_set_aside_are_sent_if_those_that_are_tried_first_need_no_room_any_more() -> None:
    async with ScriptedPipeline(max_in_flight=100) as run:
        names = [f"r{seq}" for seq in range(40)]
        run.store.body_bytes = dict.fromkeys(names, MOST_OF_THE_ROOM)
        run.transport.gate.shut()
        run.store.commit(*(change(seq, name) for seq, name in enumerate(names)))
        await run.until(lambda: run.transport.gate.waiting == 1)
        await asyncio.sleep(100)
        run.store.body_bytes = {}
        run.transport.gate.open()
        await run.until_recorded(*range(40))
