"""No standstill leaves the daemon alive and stuck: it says so, ends, and the next one goes on."""

from __future__ import annotations

import asyncio
import signal
from functools import partial

import pytest

from tests.faults.hang_points import POINT_VARIABLE, POINTS
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.length import chosen
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

LEASE_ENDS = "select extract(epoch from alive_until - now())"
BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
SETTINGS = {
    "CDC_BRIDGE_STUCK_AFTER_SECONDS": "5",
    "CDC_BRIDGE_ENDPOINT_TIMEOUT_SECONDS": "1",
}
PROBLEMS = {
    "a request": "endpoint default: no progress for",
    "loading": "endpoint default: no progress for",
    "recording": "endpoint default: no progress for",
    "reading": "change log not read for",
    "looking at the endpoints": "endpoints not checked for",
    "the event loop": "event loop blocked for",
}


@pytest.mark.parametrize("point", chosen(["reading", "the event loop"], list(POINTS)))
async def test_standstill_is_said_and_ends_the_daemon_and_nothing_is_lost(
    point: str, database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start("tests.faults.hang_points", **SETTINGS, **{POINT_VARIABLE: point})
    database.execute(BOOKING, ("R",))
    line = await bridge.wait_for_log("stuck")
    assert line["problem"].startswith(PROBLEMS[point])
    assert await bridge.wait() == 1
    if line["problem"].startswith("endpoint default"):
        assert database.value("select problem from cdc_bridge.endpoint").startswith("stuck: ")

    receiver.delivered.clear()
    await bridges.start()
    await receiver.wait_for_delivered(1)


async def renewed_for(database: Database, seconds: int) -> None:
    """Wait until the daemon has renewed its lease for so long: it has looked at itself as often."""
    goal = database.value("select alive_until + %s * interval '1 second' from cdc_bridge.daemon", (seconds,))
    renewed = partial(database.value, "select alive_until >= %s from cdc_bridge.daemon", (goal,))
    await until(renewed, f"the lease is renewed for {seconds} s")


async def test_stopped_and_continued_daemon_goes_on(database: Database, bridges: Bridges, receiver: Receiver) -> None:
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start(**SETTINGS, CDC_BRIDGE_LEASE_SECONDS="3")
    await bridge.until_assigned()
    bridge.send(signal.SIGSTOP)
    await until(partial(database.value, f"{LEASE_ENDS} < -6 from cdc_bridge.daemon"), "longer than counts as stuck")
    bridge.send(signal.SIGCONT)
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_delivered(1)
    await renewed_for(database, seconds=3)
    assert bridge.running


async def test_finishing_a_long_call_is_not_a_standstill(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    answering = asyncio.Event()
    receiver.script = lambda _: Response(after=answering)
    settings = SETTINGS | {"CDC_BRIDGE_ENDPOINT_TIMEOUT_SECONDS": "30", "CDC_BRIDGE_LEASE_SECONDS": "3"}
    bridge = await bridges.start(**settings)
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_requests(1)
    bridge.send(signal.SIGTERM)
    await renewed_for(database, seconds=8)
    answering.set()
    assert await bridge.wait() == 0
    assert database.value("select state from cdc_bridge.delivery") == "delivered"
