"""kill -9 at every step of a change's way from the change log into the delivery log: at named points, not by luck."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.faults.crash_points import (
    NUMBER_VARIABLE,
    POINT_VARIABLE,
    POINTS,
    POINTS_OF_MANY,
    SELDOM,
    NoSuchPoint,
    last_words,
)
from tests.support.audit import Truth, audit, commit, wait_until_settled
from tests.support.bridge import Bridge, Bridges
from tests.support.databases import Database
from tests.support.deaths import left_behind, repeated
from tests.support.figures import Figures
from tests.support.length import chosen
from tests.support.proxy import Proxy
from tests.support.receiver import ReceivedRequest, Receiver, Script
from tests.support.responses import Response
from tests.support.waiting import PATIENCE_SECONDS, until

SHORT = [point for point in POINTS if not point.startswith("before") or f"after{point[6:]}" not in POINTS][::2]
"""A part of them: what is before one step is after another one, more or less."""
NUMBERS = chosen([2], [1, 2, 5])
"""A point is met for the n-th time."""
MAX_IN_FLIGHT = 4
SETTINGS = {"CDC_BRIDGE_BATCH_SIZE": "5", "CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT": str(MAX_IN_FLIGHT)}
CREATE = (
    "insert into reservations (id, cust_id, reference, duration) select 'R' || n, 'C', n, 1 from generate_series({}) n"
)
CHANGE = "update reservations set duration = duration + 1 where reference % {} = 0"
DUE_NOW = "update cdc_bridge.delivery set next_attempt_at = now() where next_attempt_at is not null"


def some_changes(database: Database) -> Truth:
    truth = Truth()
    database.execute("insert into customers (id) values ('C')")
    commit(database, truth, CREATE.format("1, 20"))
    commit(database, truth, CHANGE.format(2))
    commit(database, truth, CHANGE.format(3))
    return truth


def refuses_some_once() -> Script:
    """Reject two reservations at first, so that something is scheduled; and close some connections."""
    refused = set[str]()

    def script(request: ReceivedRequest) -> Response:
        if request.reservation_id in {"R1", "R6"} - refused:
            refused.add(request.reservation_id)
            return Response(422)
        return Response(headers={"connection": "close"} if request.seq % 3 == 0 else {})

    return script


def test_every_point_is_where_it_is_said_to_be() -> None:
    lost = []
    for name, point in (POINTS | POINTS_OF_MANY).items():
        try:
            point.check()
        except NoSuchPoint as error:
            lost.append(f"{name}: {error}")
    assert lost == []


@pytest.mark.parametrize(
    ("point", "number"),
    [
        (point, number)
        for point in chosen(SHORT, list(POINTS))
        for number in sorted({min(n, SELDOM.get(point, n)) for n in NUMBERS})
    ],
)
async def test_nothing_is_lost_when_the_daemon_is_killed(
    point: str, number: int, database: Database, receiver: Receiver, bridges: Bridges, figures: Figures
) -> None:
    receiver.script = refuses_some_once()
    truth = some_changes(database)
    crash = {POINT_VARIABLE: point, NUMBER_VARIABLE: str(number)}

    dying = bridges.make("tests.faults.crash_points", **SETTINGS, **crash)
    await dying.start()
    await until(lambda: not dying.running, f"the daemon dies {point}")
    assert (await dying.wait(), dying.output[-1]) == (-signal.SIGKILL, last_words(point)), dying.text
    await assert_only_what_was_left_behind_is_repeated(dying, truth, database, receiver, bridges, figures)


@pytest.mark.slow
async def test_nothing_is_lost_when_the_daemon_is_killed_before_it_knows_that_its_commit_is_done(
    database: Database, receiver: Receiver, bridges: Bridges, proxy: Proxy, figures: Figures
) -> None:
    truth = some_changes(database)
    proxy.keep_back_answer_to = b"insert into cdc_bridge.delivery"
    dying = await bridges.start(**SETTINGS, CDC_BRIDGE_DATABASE_URL=proxy.through(database.bridge_url))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await proxy.answer_kept_back.wait()
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery"), "it is committed")
    await dying.kill()
    await assert_only_what_was_left_behind_is_repeated(dying, truth, database, receiver, bridges, figures)


async def assert_only_what_was_left_behind_is_repeated(
    dead: Bridge, truth: Truth, database: Database, receiver: Receiver, bridges: Bridges, figures: Figures
) -> None:
    """Change some more while no daemon runs, start one and check what it does."""
    left = await left_behind(dead, database, receiver)
    assert len(left.under_way) <= MAX_IN_FLIGHT
    before = list(receiver.delivered)
    receiver.script = lambda _: Response()

    commit(database, truth, CHANGE.format(4))
    database.execute(DUE_NOW)
    bridge = await bridges.start(**SETTINGS)
    await wait_until_settled(database)
    assert await bridge.terminate() == 0
    found = audit(database, truth, receiver.delivered)
    found.assert_promises_kept()
    assert repeated(before, receiver.delivered[len(before) :]) == sorted(left.changes)
    figures(f"{left}; {found.duplicates} duplicates")
