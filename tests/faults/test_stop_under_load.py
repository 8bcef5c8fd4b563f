"""SIGTERM under load: the requests under way are finished and recorded, and none is sent again."""

from __future__ import annotations

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
