"""Somebody who leaves a transaction open on rows of the bridge delays what is in these rows, and nothing else."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.support.bridge import Bridge, Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
SETTINGS = {"CDC_BRIDGE_LEASE_SECONDS": "3", "CDC_BRIDGE_STUCK_AFTER_SECONDS": "5"}
RECORDED = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
LEASED = (
    "select count(*) from cdc_bridge.endpoint e join cdc_bridge.daemon d using (daemon_id) where d.alive_until > now()"
)
LOCK_ENDPOINT = "select from cdc_bridge.endpoint where name = 'locked' for update"


@pytest.fixture
async def bridge(database: Database, bridges: Bridges, other: Receiver, certificates: Certificates) -> Bridge:
    database.execute("insert into customers (id) values ('C')")
    add_endpoint(database, "locked", other.url, Path(certificates.ca_file))
    bridge = await bridges.start(**SETTINGS)
    await bridge.until_assigned("locked")
    await bridge.until_assigned("default")
    return bridge


async def long_enough(database: Database) -> None:
    """Wait until the leases would have expired and the daemon counted as stuck, had they not been renewed."""
    goal = database.value("select max(alive_until) + interval '9 seconds' from cdc_bridge.daemon")
    renewed = partial(database.value, "select max(alive_until) >= %s from cdc_bridge.daemon", (goal,))
    await until(renewed, "the leases are renewed")


async def test_locked_endpoint_keeps_its_deliveries_and_nobody_waits_for_its_row(
    database: Database, bridge: Bridge, receiver: Receiver, other: Receiver
) -> None:
    async with database.connection(autocommit=False) as somebody:
        await somebody.execute(LOCK_ENDPOINT)
        for number in range(3):
            database.execute(BOOKING, (f"R{number}",))
        await long_enough(database)
        assert len(await receiver.wait_for_delivered(3)) == len(await other.wait_for_delivered(3)) == 3
        await until(lambda: database.value(RECORDED) == 6, "all are recorded")
    assert " lost" not in bridge.text
    following = "select bool_and(following) from cdc_bridge.endpoint"
    await until(lambda: database.value(following), "it follows the daemon's position")
    assert database.value("select count(*) from cdc_bridge.daemon") == 1
    assert await bridge.terminate() == 0


async def test_locked_delivery_waits_and_those_of_other_endpoints_do_not(
    database: Database, bridge: Bridge, receiver: Receiver, other: Receiver
) -> None:
    other.script = lambda _: Response(422)
    database.execute(BOOKING, ("R",))
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery where state = 'retrying'") == 1, "it")
    async with database.connection(autocommit=False) as somebody:
        await somebody.execute("select from cdc_bridge.delivery where state = 'retrying' for update")
        other.script = lambda _: Response(200)
        database.execute("update reservations set adults = 7 where id = 'R'")
        await other.wait_for_delivered(1)
        for number in range(20):
            database.execute(BOOKING, (f"S{number}",))
        await receiver.wait_for_delivered(22)
        await long_enough(database)
        of_others = f"{RECORDED} and endpoint_id <> (select endpoint_id from cdc_bridge.endpoint where name = 'locked')"
        await until(lambda: database.value(of_others) == 22, "those of the other endpoint are recorded")
        problem = "select reason from cdc_bridge.endpoint_status where name = 'locked'"
        await until(lambda: "locked rows" in (database.value(problem) or ""), "it is reported")
    await until(lambda: database.value(RECORDED) == 43, "all are recorded")
    assert await bridge.terminate() == 0


@pytest.mark.parametrize("ends", ["kill", "terminate"])
async def test_endpoints_of_a_daemon_that_ends_go_on_but_one_that_is_locked_until_it_is_not(
    ends: str, database: Database, bridge: Bridge, bridges: Bridges, receiver: Receiver, other: Receiver
) -> None:
    database.execute(BOOKING, ("BEFORE",))
    await receiver.wait_for_delivered(1)
    await other.wait_for_delivered(1)
    await until(lambda: database.value(RECORDED) == 2, "both are recorded")  # or they would be sent again
    async with database.connection(autocommit=False) as somebody:
        await somebody.execute(LOCK_ENDPOINT)
        if ends == "kill":
            await bridge.kill()
        else:
            await bridge.terminate()
        next_bridge = await bridges.start(**SETTINGS)
        database.execute(BOOKING, ("AFTER",))
        await receiver.wait_for_delivered(2)
        await long_enough(database)
        assert other.delivered_count == 1
        assert database.value(LEASED) == 1
        status = "select status, since < now() from cdc_bridge.endpoint_status where name = 'locked'"
        ((shown, since_then),) = database.execute(status)
        assert (shown, since_then is not False) == ("unassigned", True)
    await other.wait_for_delivered(2)
    assert [request.reservation_id for request in other.delivered] == ["BEFORE", "AFTER"]
    await until(lambda: database.value("select count(*) from cdc_bridge.daemon") == 1, "the daemon before is forgotten")
    assert await next_bridge.terminate() == 0
