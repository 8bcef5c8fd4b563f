"""No standstill leaves the daemon alive and stuck: it says so, ends, and the next one goes on."""

from __future__ import annotations

import sys
from typing import cast

import pytest

from cdc_bridge import database as product
from cdc_bridge.delivery.supervisor import Held, Supervisor
from cdc_bridge.delivery.watchdog import Stuck, Watchdog
from tests.faults.hang_points import POINT_VARIABLE, POINTS
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.receiver import Receiver

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
SETTINGS = {
    "CDC_BRIDGE_STUCK_AFTER_SECONDS": "5",
    "CDC_BRIDGE_ENDPOINT_TIMEOUT_SECONDS": "1",
    "CDC_BRIDGE_SAFETY_READ_SECONDS": "1",
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
        self.held: list[Held] = []


async def test_time_without_a_database_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(Watchdog, "_now", staticmethod(lambda: now))
    nowhere = product.Database("host=127.0.0.1 port=1")
    watchdog = Watchdog(
        nowhere,
        cast("Supervisor", _Supervisor(looked_at=now)),
        stuck_after_seconds=5,
        read_every_seconds=1,
        end_process=lambda: sys.exit("not asked for"),
    )
    nowhere._failures = 1
    now = 2000.0
    await watchdog.look()
    nowhere._failures = 0
    now = 2004.0
    await watchdog.look()
    now = 2006.0
    with pytest.raises(Stuck, match="not looked at for 6 s"):
        await watchdog.look()
