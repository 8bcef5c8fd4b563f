"""Replay, backfill, retry and reconcile at random, several at once, under random writers and kills: the promises hold.

Some rows are written past the triggers, before and meanwhile. Reconcile has to find them in the end.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from tests.support.audit import audit, wait_until_settled
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.figures import Figures
from tests.support.length import chosen
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until
from tests.support.workload import Workload, chosen_seed

SECONDS = chosen(15.0, 120.0)
WRITERS = 4
BULK_ROWS = 100
UNCAPTURED_BEFORE = """
set session_replication_role = replica;
insert into reservations (id, cust_id, reference, duration) select 'OLD' || n, 'C', n, 1 from generate_series(1, 300) n;
insert into reservations (id, cust_id, reference, duration)
select 'R0' || lpad(n::text, 2, '0'), 'C', n, 1 from generate_series(0, 39) n
"""
UNCAPTURED_MEANWHILE = """
set session_replication_role = replica;
update reservations set duration = duration + 1 where id = 'R0{:02}' or id = 'OLD{}'
"""
WAITING = "select count(*) from cdc_bridge.delivery where state in ('queued', 'retrying')"
SOME_WAITING = "select seq from cdc_bridge.delivery where state in ('queued', 'retrying') order by random() limit 3"
SETTINGS = {"CDC_BRIDGE_LOG_LEVEL": "info", "CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT": "8"}


class Operator:
    """Runs commands at random."""

    def __init__(self, database: Database, bridges: Bridges, chance: random.Random) -> None:
        self._database = database
        self._bridges = bridges
        self._chance = chance
        self.ran = 0

    def _chosen(self) -> tuple[str, ...]:
        waiting = [str(seq) for (seq,) in self._database.execute(SOME_WAITING)] or ["1"]
        some = [f"--reservation=R0{self._chance.randrange(40):02}" for _ in range(5)]
        return self._chance.choice(
            (
                ("backfill", "default", "--at-most", "1000"),
                ("backfill", "default", "--again"),
                ("reconcile", "--since", "2020-01-01", "--repair"),
                ("replay", "--state", "delivered"),
                ("replay", "--state", "retrying"),
                ("replay", *some),
                ("delivery", "retry", *waiting),
            )
        )

    async def work(self) -> None:
        """Run one command after the other, until cancelled."""
        while True:
            arguments = self._chosen()
            code, _, errors = await run_command(*arguments, **self._bridges.settings)
            assert code in {0, 1}, (arguments, errors)
            assert "Traceback" not in errors
            self.ran += 1
            with suppress(IndexError):
                statement = UNCAPTURED_MEANWHILE.format(self._chance.randrange(40), self._chance.randrange(300))
                await asyncio.to_thread(self._database.execute, statement)


@pytest.mark.slow
@pytest.mark.timeout(chosen(300, 900))
async def test_promises_hold_whatever_is_queued_by_hand(
    database: Database, receiver: Receiver, bridges: Bridges, figures: Figures
) -> None:
    seed = chosen_seed()
    chance = random.Random(seed)
    receiver.script = lambda _: Response(422 if chance.random() < 0.05 else 200)
    workload = Workload(database, seed, pause_seconds=0.1)
    workload.set_up(BULK_ROWS)
    database.execute(UNCAPTURED_BEFORE)
    bridge = await bridges.start(**SETTINGS)

    writing = asyncio.create_task(workload.run(WRITERS, SECONDS))
    operator = Operator(database, bridges, chance)
    working = [asyncio.create_task(operator.work()) for _ in range(2)]
    kills = 0
    while not writing.done():
        await asyncio.wait([writing, *working], timeout=chance.uniform(1, 5), return_when=asyncio.FIRST_COMPLETED)
        for failed in working:
            if failed.done():
                failed.result()
        await bridge.kill()
        kills += 1
        bridge = await bridges.start(**SETTINGS, CDC_BRIDGE_BATCH_SIZE=chance.choice(["2", "10", "100"]))
    await writing
    for task in working:
        task.cancel()
    await asyncio.wait(working)

    receiver.script = lambda _: Response()
    await everything_settled(database, bridges)
    code, output, errors = await run_command(
        "reconcile", "--since", "2020-01-01", "--repair", "--dead", **bridges.settings
    )
    assert "Traceback" not in errors
    await everything_settled(database, bridges)
    code, output, _ = await run_command("reconcile", "--since", "2020-01-01", **bridges.settings)
    assert code == 0, output
    assert await bridge.terminate() == 0

    found = audit(database, workload.truth, receiver.delivered)
    figures(
        f"{len(workload.truth.changed)} transactions, {operator.ran} commands, {kills} kills, "
        f"{len(receiver.delivered)} calls, {found.duplicates} of them once more"
    )
    assert {request.reservation_id for request in receiver.delivered} >= {f"OLD{number}" for number in range(1, 301)}
    found.assert_promises_kept()


async def everything_settled(database: Database, bridges: Bridges) -> None:
    await run_command("replay", "--state", "retrying", **bridges.settings)
    await wait_until_settled(database)
    await until(lambda: database.value(WAITING) == 0, "nothing waits", 120)
