"""Random writers, and a primary that dies at random while its standby is behind or not."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress

import psycopg
import pytest

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.faults.test_server_incarnation import everything_arrived, on, streaming
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.length import chosen
from tests.support.receiver import Receiver
from tests.support.standby import Standby
from tests.support.waiting import until
from tests.support.workload import chosen_seed

ROUNDS = chosen(2, 6)
RESERVATIONS = 30
WRITE = (
    "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', 1 from unnest(%s::int[]) n "
    "on conflict (id) do update set adults = reservations.adults + 1"
)


async def write_until_it_dies(database: Database, seed: int) -> None:
    """Write single and large transactions, some of them rolled back, until the server is gone."""
    chance = random.Random(seed)
    with suppress(psycopg.OperationalError):
        async with database.connection(autocommit=False) as connection:
            while True:
                numbers = chance.sample(range(RESERVATIONS), chance.choice((1, 1, 1, 3, RESERVATIONS)))
                await connection.execute(WRITE, (sorted(numbers),))
                await (connection.rollback() if chance.random() < 0.1 else connection.commit())
                await asyncio.sleep(chance.uniform(0, 0.02))


@pytest.mark.timeout(600)
async def test_nothing_that_the_serving_server_has_is_missing_or_goes_back(
    durable_server: ThrowawayPostgres, durable_database: Database, durable_bridges: Bridges, receiver: Receiver
) -> None:
    chance = random.Random(chosen_seed())
    durable_database.execute("insert into customers (id) values ('C')")
    primary: ThrowawayPostgres = durable_server
    async with AsyncExitStack() as stack:
        for _ in range(ROUNDS):
            now = on(primary)
            standby = stack.enter_context(Standby(primary))
            await streaming(now)
            bridge = await durable_bridges.start(
                CDC_BRIDGE_DATABASE_URL=standby.through_either(now.bridge_url),
                CDC_BRIDGE_ENDPOINT_LATEST_ONLY=chance.choice(("true", "false")),
                CDC_BRIDGE_BATCH_SIZE=chance.choice(("1", "7", "500")),
            )
            writers = [asyncio.create_task(write_until_it_dies(now, chance.randrange(2**32))) for _ in range(4)]
            await receiver.wait_for_delivered(receiver.delivered_count + chance.randrange(5, 60))
            if chance.random() < 0.7:
                standby.cut_off()
                await until(lambda: not standby.receives(), "the standby is cut off")  # noqa: B023 - called at once
                await receiver.wait_for_delivered(receiver.delivered_count + chance.randrange(5, 60))
            if chance.random() < 0.3:
                await bridge.kill()
            primary.stop("immediate")
            await asyncio.gather(*writers)
            await asyncio.to_thread(standby.promote)
            now = on(standby)
            if not bridge.running:
                bridge = await durable_bridges.start(CDC_BRIDGE_DATABASE_URL=now.bridge_url)
            now.execute(WRITE, ([0, 1, 2],))
            await everything_arrived(now, receiver)
            assert await bridge.terminate() == 0
            primary = standby
