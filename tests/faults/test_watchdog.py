"""No standstill leaves the daemon alive and stuck: it says so, ends, and the next one goes on."""

from __future__ import annotations

import asyncio
import signal
import sys
from functools import partial
from typing import cast

import pytest

from cdc_bridge import database as product
from cdc_bridge.runtime.supervisor import LeasedEndpoint, Supervisor
from cdc_bridge.runtime.watchdog import Stuck, Watchdog
from tests.faults.hang_points import POINT_VARIABLE, POINTS
from tests.support.answers import Answer
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.waiting import until

LEASE_ENDS = "select extract(epoch from leased_until - now())"
BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
SETTINGS = {
    "CDC_BRIDGE_STUCK_AFTER_SECONDS": "5",
    "CDC_BRIDGE_ENDPOINT_TIMEOUT_SECONDS": "1",
}
SAID = {
    "a call": "endpoint default: there is work and no progress",
    "loading": "endpoint default: there is work and no progress",
    "recording": "endpoint default: there is work and no progress",
    "reading": "endpoint default: the change log was not read",
    "looking at the endpoints": "the endpoints were not looked at",
    "the event loop": "the event loop did nothing",
}


@pytest.mark.parametrize("point", POINTS)
async def test_standstill_is_said_and_ends_the_daemon_and_nothing_is_lost(
    point: str, database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start("tests.faults.hang_points", **SETTINGS, **{POINT_VARIABLE: point})
    database.execute(BOOKING, ("R",))
    line = await bridge.wait_for_log("stuck")
    assert line["problem"].startswith(SAID[point])
    assert await bridge.wait() == 1
    if line["problem"].startswith("endpoint default"):
        assert database.value("select problem from cdc_bridge.endpoint").startswith("stuck: ")

    receiver.accepted.clear()
    await bridges.start(**SETTINGS)
    await receiver.wait_for_accepted(1)


class _Supervisor:
    """As much of one as a watchdog looks at, with an endpoint that stands still."""

    def __init__(self, looked_at: float) -> None:
        self.looked_at = looked_at
        self.look_every_seconds = 0.0
        self.database_lost = False
        self.held: list[LeasedEndpoint] = []


class _Watch:
    """A watchdog on a clock of the test's, with a patience of five seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(Watchdog, "_now", staticmethod(lambda: self.now))
        self.database = product.Database("host=127.0.0.1 port=1")
        self.supervisor = _Supervisor(looked_at=self.now)
        self._watchdog = Watchdog(
            self.database,
            cast("Supervisor", self.supervisor),
            stuck_after_seconds=5,
            read_every_seconds=1,
            found_well=lambda: None,
            end_process=lambda: sys.exit("not asked for"),
        )

    async def look_each_second(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            await self._watchdog.look()


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> _Watch:
    return _Watch(monkeypatch)


async def test_time_without_a_database_does_not_count(watch: _Watch) -> None:
    watch.database._failures = 1
    await watch.look_each_second(100)
    watch.database._failures = 0
    await watch.look_each_second(5)
    with pytest.raises(Stuck, match="not looked at for 6 s"):
        await watch.look_each_second(1)


async def test_time_without_a_database_does_not_count_where_no_endpoint_is_held(watch: _Watch) -> None:
    watch.supervisor.database_lost = True
    await watch.look_each_second(100)
    watch.supervisor.database_lost = False
    await watch.look_each_second(5)
    with pytest.raises(Stuck, match="not looked at for 6 s"):
        await watch.look_each_second(1)


async def test_time_in_which_the_process_was_stopped_does_not_count(watch: _Watch) -> None:
    watch.now += 1000
    await watch.look_each_second(6)
    with pytest.raises(Stuck, match="not looked at for 6 s"):
        await watch.look_each_second(1)


async def test_what_is_looked_at_seldom_is_not_stuck(watch: _Watch) -> None:
    watch.supervisor.look_every_seconds = 125
    await watch.look_each_second(130)
    with pytest.raises(Stuck, match="not looked at for 131 s"):
        await watch.look_each_second(1)


async def renewed_for(database: Database, seconds: int) -> None:
    """Wait until the daemon has renewed its lease for so long: it has looked at itself as often."""
    goal = database.value("select leased_until + %s * interval '1 second' from cdc_bridge.endpoint", (seconds,))
    renewed = partial(database.value, "select leased_until >= %s from cdc_bridge.endpoint", (goal,))
    await until(renewed, f"the lease is renewed for {seconds} s")


async def test_stopped_and_continued_daemon_goes_on(database: Database, bridges: Bridges, receiver: Receiver) -> None:
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start(**SETTINGS, CDC_BRIDGE_LEASE_SECONDS="3")
    await bridge.wait_for_log("endpoint taken")
    bridge.send(signal.SIGSTOP)
    await until(partial(database.value, f"{LEASE_ENDS} < -6 from cdc_bridge.endpoint"), "longer than counts as stuck")
    bridge.send(signal.SIGCONT)
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_accepted(1)
    await renewed_for(database, seconds=3)
    assert bridge.running


async def test_finishing_a_long_call_is_not_a_standstill(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    answering = asyncio.Event()
    receiver.script = lambda _: Answer(after=answering)
    settings = SETTINGS | {"CDC_BRIDGE_ENDPOINT_TIMEOUT_SECONDS": "30", "CDC_BRIDGE_LEASE_SECONDS": "3"}
    bridge = await bridges.start(**settings)
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_calls(1)
    bridge.send(signal.SIGTERM)
    await renewed_for(database, seconds=8)
    answering.set()
    assert await bridge.wait() == 0
    assert database.value("select state from cdc_bridge.delivery") == "delivered"
