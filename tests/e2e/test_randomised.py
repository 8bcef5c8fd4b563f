"""Random writers, small pages and a daemon that is killed at random: the promises hold."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.audit import audit, wait_until_settled
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.workload import Workload, chosen_seed

WRITERS = 8
SECONDS = 12.0
BULK_ROWS = 2000
PAGE_SIZES = ("1", "2", "7", "50")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("wake", ["notify", pytest.param("poll", marks=pytest.mark.slow)])
async def test_no_change_is_lost_invented_or_out_of_order(
    wake: str, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    seed = chosen_seed()
    chance = random.Random(seed)
    workload = Workload(database, seed, prepared_transactions=wake == "poll")
    workload.set_up(BULK_ROWS)
    settings = {
        "CDC_BRIDGE_WAKE": wake,
        "CDC_BRIDGE_LOG_LEVEL": "info",
        "CDC_BRIDGE_POLL_INTERVAL_SECONDS": "0.05",
    }

    writing = asyncio.create_task(workload.run(WRITERS, SECONDS))
    kills = 0
    while not writing.done():
        bridge = await bridges.start(**settings, CDC_BRIDGE_BATCH_SIZE=chance.choice(PAGE_SIZES))
        await asyncio.wait([writing], timeout=chance.uniform(0.2, 3))
        await bridge.kill()
        kills += 1
    await writing
    bridge = await bridges.start(**settings)
    await wait_until_settled(database)
    assert await bridge.terminate() == 0

    found = audit(database, workload.truth, receiver.delivered)
    print(
        f"{len(workload.truth.changed)} transactions, {len(receiver.delivered)} calls, "
        f"{kills} kills, {found.duplicates} duplicates"
    )
    found.assert_promises_kept()
