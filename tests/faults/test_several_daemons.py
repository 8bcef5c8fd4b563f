"""Several daemons under load, of which the one with the endpoint is killed, frozen, thawed, cut off or stopped."""

from __future__ import annotations

import random
import signal
from functools import partial

import pytest

from tests.support.bridge import Bridge, Bridges
from tests.support.databases import Database
from tests.support.figures import Figures
from tests.support.length import chosen
from tests.support.load import Load
from tests.support.proxy import Proxy
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

HOLDER = """
select split_part(d.name, ':', 2)::int
from cdc_bridge.endpoint e join cdc_bridge.daemon d using (daemon_id)
where d.alive_until > now()
"""
LEASE = {"CDC_BRIDGE_LEASE_SECONDS": "2"}
ROUNDS = chosen(6, 60)


def holder_of(daemons: list[Bridge], database: Database) -> Bridge | None:
    pids = [pid for (pid,) in database.execute(HOLDER)]
    return next((bridge for bridge in daemons if bridge.running and bridge.pid in pids), None)


@pytest.mark.slow
@pytest.mark.timeout(chosen(180, 900))
@pytest.mark.parametrize("number", [2, 3])
async def test_nothing_is_lost_or_back_in_time_whatever_happens_to_the_holder(
    number: int, load: Load, database: Database, bridges: Bridges, figures: Figures
) -> None:
    chance = random.Random(load.seed)
    daemons = [await bridges.start(**LEASE) for _ in range(number)]
    frozen: list[Bridge] = []
    done: list[str] = []
    async with load.running():
        for _ in range(ROUNDS):
            await load.delivered(10)
            awake = [bridge for bridge in daemons if bridge not in frozen]
            await until(partial(holder_of, awake, database), "one that is awake has the endpoint")
            holder = holder_of(awake, database)
            assert holder is not None
            while frozen and (len(frozen) == number - 1 or chance.random() < 0.5):
                frozen.pop(0).send(signal.SIGCONT)
            done.append(fault := chance.choice(["kill", "stop", "freeze", "freeze"]))
            match fault:
                case "freeze":
                    holder.send(signal.SIGSTOP)
                    frozen.append(holder)
                case "kill":
                    await holder.kill()
                    daemons.append(await bridges.start(**LEASE))
                case "stop":
                    assert await holder.terminate() == 0
                    daemons.append(await bridges.start(**LEASE))
        for bridge in frozen:
            bridge.send(signal.SIGCONT)
    await load.assert_promises_kept()
    for bridge in daemons:
        if bridge.running:
            assert await bridge.terminate() == 0
    figures(f"{number} daemons; {', '.join(done)}")


async def test_holder_that_is_cut_off_from_the_database_is_replaced(
    load: Load, database: Database, bridges: Bridges, proxy: Proxy
) -> None:
    cut_off = await bridges.start(**LEASE, CDC_BRIDGE_DATABASE_URL=proxy.through(database.bridge_url))
    await cut_off.until_assigned()
    other = await bridges.start(**LEASE)
    async with load.running():
        await load.delivered(20)
        await proxy.cut()
        await other.until_assigned()
        await load.delivered(20)
        await proxy.start()
        await cut_off.wait_for_log("endpoint lease lost")
        await load.delivered(20)
    await load.assert_promises_kept()
    assert await cut_off.terminate() == 0
    assert await other.terminate() == 0


async def test_endpoint_that_answered_410_is_not_taken_again_before_that_is_recorded(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    receiver.script = lambda _: Response(410)
    bridge = await bridges.start("tests.faults.slow_release")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await bridge.wait_for_log("endpoint disabled")
    assert len(receiver.requests) == 1
    assert database.value("select fencing_token from cdc_bridge.endpoint") == 1
