"""The places of all requests: who gets one, and what happens when something runs out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
import structlog

from cdc_bridge.model import Change, History, Operation, ReservationId, Seq
from cdc_bridge.transport.message import Message, compose
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault
from cdc_bridge.transport.places import LimitedTransport, Places
from tests.unit.pipeline.virtual_time import in_virtual_time

MESSAGE = compose(
    Change(Seq(1), ReservationId("R"), Operation.CREATED, datetime.now(UTC)), "R", "/tests", History(3), b"{}"
)
OUT_OF_DESCRIPTORS = Failed(None, "this process ran out of file descriptors (limit 100)", Fault.OURS)


class Scripted:
    """Sends requests that take a second."""

    def __init__(
        self, outcome: Callable[[], Delivered | Failed] = lambda: Delivered(200), seconds: float = 1.0
    ) -> None:
        self.outcome = outcome
        self.seconds = seconds
        self.under_way = self.most_under_way = self.sent = 0

    async def send(self, message: Message) -> Attempt | None:
        self.sent += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        return Attempt(message.id, datetime.now(UTC), self.seconds, self.outcome())


def places(number: int) -> Places:
    made = Places(2 * number + 40, clock=asyncio.get_running_loop().time)
    assert made.limit == number
    return made


async def until_sent(transport: LimitedTransport) -> Attempt:
    while (attempt := await transport.send(MESSAGE)) is None:
        pass
    return attempt


@pytest.mark.parametrize(
    ("descriptors", "reserved", "limit"),
    [(100, 25, 17), (64, 16, 4), (20, 8, 2), (1024, 256, 364), (65536, 256, 32620)],
)
def test_others_have_descriptors_of_their_own(descriptors: int, reserved: int, limit: int) -> None:
    assert Places(descriptors, reserved=reserved).limit == limit


@in_virtual_time
async def test_requests_of_many_endpoints_wait_for_a_place_and_all_are_sent() -> None:
    shared, scripted = places(17), Scripted()
    transports = [LimitedTransport(scripted, shared) for _ in range(24)]
    attempts = await asyncio.gather(*(until_sent(one) for one in transports for _ in range(16)))
    assert [attempt.outcome for attempt in attempts] == [Delivered(200)] * 24 * 16
    assert scripted.most_under_way == 17
    assert shared.problem is None


@in_virtual_time
async def test_endpoint_that_does_not_respond_leaves_places_to_others() -> None:
    shared = places(8)
    silent, good = LimitedTransport(Scripted(seconds=1000.0), shared), LimitedTransport(Scripted(), shared)
    hanging = [asyncio.create_task(until_sent(silent)) for _ in range(16)]
    await asyncio.sleep(0.1)
    began_at = asyncio.get_running_loop().time()
    await until_sent(good)
    assert asyncio.get_running_loop().time() - began_at == pytest.approx(1.0)
    for one in hanging:
        one.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert shared._taken == 0


@in_virtual_time
async def test_request_that_waits_too_long_for_a_place_is_loaded_again() -> None:
    shared = places(2)
    silent = [LimitedTransport(Scripted(seconds=100.0), shared) for _ in range(2)]
    hanging = [asyncio.create_task(until_sent(one)) for one in silent]
    await asyncio.sleep(0.1)
    assert await LimitedTransport(Scripted(), shared).send(MESSAGE) is None
    await asyncio.gather(*hanging)


@in_virtual_time
async def test_place_that_is_given_back_goes_to_whoever_waits_longest_and_to_nobody_else() -> None:
    shared, order = places(2), []
    assert await shared.take("first")
    assert await shared.take("second")

    async def take(endpoint: str) -> None:
        assert await shared.take(endpoint)
        order.append(endpoint)

    waiting = [asyncio.create_task(take(endpoint)) for endpoint in ("third", "fourth", "fifth")]
    await asyncio.sleep(0)
    shared.give_back("first")
    await asyncio.sleep(1)
    assert order == ["third"]
    waiting[1].cancel()
    await asyncio.sleep(0)
    shared.give_back("second")
    await waiting[2]
    assert order == ["third", "fifth"]


@in_virtual_time
async def test_place_of_a_request_that_is_cancelled_as_it_gets_it_goes_to_the_next() -> None:
    shared = places(2)
    assert await shared.take("first")
    assert await shared.take("second")
    cancelled, next_one = (asyncio.create_task(shared.take(endpoint)) for endpoint in ("third", "fourth"))
    await asyncio.sleep(0)
    shared.give_back("first")
    cancelled.cancel()
    assert await next_one
    assert cancelled.cancelled()


@in_virtual_time
async def test_running_out_charges_nobody_halves_the_places_and_they_grow_again() -> None:
    shared, left = places(32), [3]

    def outcome() -> Delivered | Failed:
        left[0] -= 1
        return OUT_OF_DESCRIPTORS if left[0] >= 0 else Delivered(200)

    scripted = Scripted(outcome)
    transports = [LimitedTransport(scripted, shared) for _ in range(32)]
    with structlog.testing.capture_logs() as log:
        attempts = await asyncio.gather(*map(until_sent, transports))
    assert [attempt.outcome for attempt in attempts] == [Delivered(200)] * 32
    assert scripted.sent == 35
    assert 16 <= shared.limit < 20
    assert shared.problem == f"{OUT_OF_DESCRIPTORS.reason}; {shared.limit} requests at once at most for now"
    assert [line["event"] for line in log] == ["out of resources"]
    await asyncio.sleep(61)
    assert shared.problem is None
    for _ in range(15):
        await asyncio.gather(*map(until_sent, transports))
    assert shared.limit == 32


@in_virtual_time
async def test_endpoint_that_alone_seems_to_run_out_does_not_halve_the_speed_of_the_others() -> None:
    """As where connecting fails with a number that means exhaustion elsewhere."""
    shared = places(64)
    alone = asyncio.create_task(until_sent(LimitedTransport(Scripted(lambda: OUT_OF_DESCRIPTORS), shared)))
    others = [LimitedTransport(Scripted(seconds=0.1), shared) for _ in range(20)]
    began_at = asyncio.get_running_loop().time()
    for _ in range(1000):
        await asyncio.gather(*map(until_sent, others))
    assert asyncio.get_running_loop().time() - began_at < 2 * 100
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)


@in_virtual_time
async def test_running_out_for_long_is_tried_at_growing_pauses_and_logged_once_a_minute() -> None:
    shared = places(16)
    scripted = Scripted(lambda: OUT_OF_DESCRIPTORS, seconds=0.0)
    with structlog.testing.capture_logs() as log:
        trying = asyncio.create_task(until_sent(LimitedTransport(scripted, shared)))
        await asyncio.sleep(600)
        assert shared.limit == 1
        assert scripted.sent < 300
        scripted.outcome = lambda: Delivered(200)
        await trying
    assert 9 <= len(log) <= 11
    assert sum(line["requests"] for line in log) <= scripted.sent


@in_virtual_time
async def test_place_is_given_back_whatever_happens() -> None:
    shared = places(2)

    async def crash(_: Message) -> Attempt | None:
        raise ZeroDivisionError

    scripted = Scripted()
    scripted.send = crash  # type: ignore[method-assign, assignment]
    transport = LimitedTransport(scripted, shared)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await transport.send(MESSAGE)
    assert await shared.take("another")
    sending: Awaitable[bool] = asyncio.create_task(shared.take("third"))
    assert await sending
