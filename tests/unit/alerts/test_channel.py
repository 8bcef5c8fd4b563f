from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cdc_bridge.alerts.channel import Channel
from cdc_bridge.alerts.wording import Alert
from cdc_bridge.backoff import Backoff
from tests.support.waiting import until

RED = Alert("red", "in trouble", ())
GREEN = Alert("green", "works again", ())
AT_ONCE = Backoff(first_seconds=0.001, longest_seconds=0.001)
NEVER = Backoff(first_seconds=3600, longest_seconds=3600)


class Receiver:
    """Says for each attempt what comes of it."""

    def __init__(self, *outcomes: str | None) -> None:
        self.outcomes = list(outcomes)
        self.got: list[str] = []

    async def take(self, alert: Alert) -> str | None:
        self.got.append(alert.text)
        await asyncio.sleep(0)
        return self.outcomes.pop(0) if self.outcomes else None


@asynccontextmanager
async def channel(
    send: Callable[..., object], backoff: Backoff = AT_ONCE, most_attempts: int | None = None
) -> AsyncIterator[Channel]:
    made = Channel("alert_url", send, backoff=backoff, most_attempts=most_attempts)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


async def test_alert_is_sent_once() -> None:
    receiver = Receiver()
    async with channel(receiver.take) as made:
        made.tell(RED)
        assert made.unsent
        await until(lambda: not made.unsent, "it is sent")
    assert receiver.got == ["in trouble"]
    assert made.problem is None


async def test_failed_alert_is_sent_again_and_its_problem_is_kept_until_then() -> None:
    receiver = Receiver("HTTP 500", "HTTP 500")
    problems = set()
    async with channel(receiver.take) as made:
        made.tell(RED)
        while made.unsent:
            problems.add(made.problem)
            await asyncio.sleep(0)
        assert made.problem is None
    assert "HTTP 500" in problems
    assert len(receiver.got) == 3


async def test_newer_alert_takes_the_place_of_one_that_cannot_be_sent_and_is_tried_at_once() -> None:
    receiver = Receiver("connection refused")
    async with channel(receiver.take, NEVER) as made:
        made.tell(RED)
        await until(lambda: made.problem is not None, "it has failed")
        made.tell(GREEN)
        await until(lambda: not made.unsent, "it is sent")
    assert receiver.got == ["in trouble", "works again\nAn earlier message could not be sent."]


async def test_newer_alert_while_one_is_being_sent_follows_it() -> None:
    going = asyncio.Event()
    got: list[str] = []

    async def slow(alert: Alert) -> None:
        got.append(alert.text)
        await going.wait()

    async with channel(slow, NEVER) as made:
        made.tell(RED)
        await until(lambda: got, "it is being sent")
        made.tell(GREEN)
        going.set()
        await until(lambda: not made.unsent, "both are sent")
    assert got == ["in trouble", "works again"]


async def test_alert_is_given_up_after_the_most_attempts_and_stays_a_problem() -> None:
    receiver = Receiver(*["exit code 1"] * 100)
    async with channel(receiver.take, most_attempts=4) as made:
        made.tell(RED)
        await until(lambda: not made.unsent, "it is given up")
        assert made.problem == "exit code 1"
    assert len(receiver.got) == 4


async def test_crash_of_a_channel_is_a_problem_and_does_not_end_it() -> None:
    async def crash(_: Alert) -> None:
        raise RuntimeError

    async with channel(crash, NEVER) as made:
        made.tell(RED)
        await until(lambda: made.problem is not None, "it has failed")
        assert made.problem == "sending crashed; see the log"
        assert made.unsent
