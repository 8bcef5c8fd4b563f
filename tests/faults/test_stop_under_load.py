"""SIGTERM under load: the requests under way are finished and recorded, and none is sent again."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.deaths import LeftBehind, left_behind
from tests.support.length import chosen
from tests.support.load import Load
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

NOTHING = LeftBehind(frozenset(), frozenset())


@pytest.mark.timeout(chosen(180, 600))
async def test_stop_loses_no_call_and_repeats_none(
    load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(after_seconds=0.05)
    async with load.running():
        for _ in range(chosen(5, 40)):
            bridge = await bridges.start(CDC_BRIDGE_BATCH_SIZE="10")
            await load.delivered(15)
            assert await bridge.terminate() == 0
            assert await left_behind(bridge, database, receiver) == NOTHING
    bridge = await bridges.start()
    found = await load.assert_promises_kept()
    assert found.duplicates == 0
    assert await bridge.terminate() == 0


async def test_stop_while_the_start_waits_for_a_lock_ends_the_daemon(database: Database, bridges: Bridges) -> None:
    bridge = await bridges.start()
    assert await bridge.terminate() == 0
    async with database.connection(autocommit=False) as other:
        await other.execute("lock table cdc_bridge.endpoint")
        bridge = bridges.make()
        await bridge.start()
        waiting = "select count(*) from pg_locks where not granted and relation = 'cdc_bridge.endpoint'::regclass"
        await until(lambda: database.value(waiting) > 0, "the daemon waits for the lock")
        assert await bridge.terminate() != 1


async def test_change_in_flight_is_not_passed_if_the_release_of_its_endpoint_waits_for_a_lock(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    never = asyncio.Event()
    receiver.script = lambda _: Response(503, after=never)
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start(CDC_BRIDGE_SHUTDOWN_TIMEOUT_SECONDS="0.5")
    await until(lambda: database.value("select following from cdc_bridge.endpoint"), "it has the daemon's position")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await receiver.wait_for_requests(1)
    async with database.connection(autocommit=False) as other:
        await other.execute("select from cdc_bridge.endpoint for update")
        assert await bridge.terminate() == 0
    receiver.script = lambda _: Response()
    await bridges.start()
    await receiver.wait_for_delivered(1)
