"""Several daemons on one database: one calls at a time, and when it falls silent another goes on."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.bridge import Bridge, Bridges
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
HOLDER = """
select split_part(d.name, ':', 2)::int from cdc_bridge.endpoint e left join cdc_bridge.daemon d using (daemon_id)
"""
SHORT_LEASE = {"CDC_BRIDGE_LEASE_SECONDS": "3"}
LONG_LEASE = {"CDC_BRIDGE_LEASE_SECONDS": "300"}


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


async def holder_and_other(
    bridges: Bridges, database: Database, lease: dict[str, str] = LONG_LEASE
) -> tuple[Bridge, Bridge]:
    """Start two daemons; the first one has the endpoint, the second one would keep it for long."""
    holder = await bridges.start(**lease)
    await holder.until_assigned()
    other = await bridges.start(**LONG_LEASE)
    assert database.value(HOLDER) == holder.pid
    return holder, other


async def test_second_daemon_stands_by(bridges: Bridges, database: Database, receiver: Receiver) -> None:
    _, other = await holder_and_other(bridges, database)
    for number in range(20):
        database.execute(BOOKING, (f"R{number}",))
    await receiver.wait_for_delivered(20)
    assert len(receiver.requests) == 20
    assert other.assignments() == {}
    assert [line for line in other.log if line["event"] == "delivered"] == []


async def test_clean_stop_hands_over_at_once(bridges: Bridges, database: Database, receiver: Receiver) -> None:
    """Also with a lease that would last for minutes."""
    holder = await bridges.start(**LONG_LEASE)
    await holder.until_assigned()
    other = await bridges.start(**LONG_LEASE)
    assert await holder.terminate() == 0
    await other.until_assigned()
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_delivered(1)


async def test_killed_holder_is_replaced_without_waiting_for_its_lease(
    bridges: Bridges, database: Database, receiver: Receiver
) -> None:
    holder = await bridges.start(**LONG_LEASE)
    await holder.until_assigned()
    await holder.kill()
    other = await bridges.start(**LONG_LEASE)
    await other.until_assigned()
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_delivered(1)


async def test_frozen_holder_is_replaced_and_can_record_and_call_nothing_after_thawing(
    bridges: Bridges, database: Database, receiver: Receiver
) -> None:
    holder, other = await holder_and_other(bridges, database, SHORT_LEASE)
    answering = asyncio.Event()
    receiver.script = lambda request: Response(after=answering if request.reservation_id == "UNDER-WAY" else None)
    database.execute(BOOKING, ("UNDER-WAY",))
    await receiver.wait_for_requests(1)
    holder.send(signal.SIGSTOP)
    database.execute(BOOKING, ("WHILE-FROZEN",))
    await other.until_assigned()
    receiver.script = lambda _: Response()
    await receiver.wait_for(
        lambda: {request.reservation_id for request in receiver.delivered} == {"UNDER-WAY", "WHILE-FROZEN"}, "both"
    )
    recorded = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
    await until(lambda: database.value(recorded) == 2, "both are recorded by the new holder")
    before = database.execute("select seq, attempts, last_attempt_at from cdc_bridge.delivery order by seq")
    requests = len(receiver.requests)

    answering.set()  # What the frozen one asked for is answered now.
    holder.send(signal.SIGCONT)
    await holder.wait_for_log("endpoint lease lost")
    database.execute(BOOKING, ("AFTER",))
    await receiver.wait_for(lambda: receiver.delivered[-1].reservation_id == "AFTER", "a change after thawing")
    assert len(receiver.requests) == requests + 1
    assert database.value(HOLDER) == other.pid
    now = database.execute("select seq, attempts, last_attempt_at from cdc_bridge.delivery order by seq")
    assert now[:2] == before
    assert [line for line in holder.log if line["event"] == "delivered" and line["reservation_id"] == "AFTER"] == []


async def test_daemons_that_start_together_share_endpoints(
    bridges: Bridges, database: Database, receiver: Receiver, bridge_settings: dict[str, str]
) -> None:
    for number in range(6):
        add_endpoint(
            database, f"till-{number}", f"{receiver.url}/{number}", Path(bridge_settings["CDC_BRIDGE_ENDPOINT_CA_FILE"])
        )
    both = [bridges.make() for _ in range(2)]
    for bridge in both:
        await bridge.start()
    everyone = "select count(*) from cdc_bridge.endpoint where daemon_id is not null"
    await until(lambda: database.value(everyone) == 7, "all endpoints are held")
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_delivered(7)
    assert sorted(request.path for request in receiver.delivered) == [
        "/reservations", *(f"/reservations/{number}" for number in range(6))
    ]  # fmt: skip
