"""The primary dies, its standby takes over with change log, delivery log and position, and the daemon goes on."""

from __future__ import annotations

import asyncio

import pytest

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.server import Server
from tests.support.standby import Standby
from tests.support.waiting import until

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
CHANGE = "update reservations set adults = adults + 1 where id = 'CHANGED'"
NEW = 60


@pytest.mark.parametrize("daemon", ["stays", "is killed with it"])
async def test_nothing_is_lost_in_a_fail_over_to_a_synchronous_standby(
    daemon: str,
    durable_server: ThrowawayPostgres,
    durable_database: Database,
    durable_bridges: Bridges,
    receiver: Receiver,
) -> None:
    durable_database.execute("insert into customers (id) values ('C')")
    durable_database.execute(BOOKING, ("CHANGED",))
    with Standby(durable_server) as standby:
        await until(
            lambda: durable_database.value("select count(*) from pg_stat_replication where state = 'streaming'") == 1,
            "the standby streams",
        )
        durable_database.execute("alter system set synchronous_standby_names = '*'")
        durable_database.execute("select pg_reload_conf()")
        settings = {"CDC_BRIDGE_DATABASE_URL": standby.through_either(durable_database.bridge_url)}
        bridge = await durable_bridges.start(**settings)
        for number in range(NEW):
            durable_database.execute(BOOKING, (f"BEFORE-{number}",))
            durable_database.execute(CHANGE)
        durable_server.kill()
        if daemon == "is killed with it":
            await bridge.kill()
        await asyncio.to_thread(standby.promote)

        now = Database(Server("own", standby.url, standby.binaries), "postgres")
        now.execute("alter system set synchronous_standby_names = ''")
        now.execute("select pg_reload_conf()")
        if daemon == "is killed with it":
            bridge = await durable_bridges.start(**settings)
        for number in range(NEW):
            now.execute(BOOKING, (f"AFTER-{number}",))
        committed = {seq for (seq,) in now.execute("select seq from cdc_bridge.change")}
        assert len(committed) == 1 + 3 * NEW
        await receiver.wait_for(lambda: {request.seq for request in receiver.delivered} == committed, "every change")
        requests = [request for request in receiver.delivered if request.reservation_id == "CHANGED"]
        assert [request.seq for request in requests] == sorted(request.seq for request in requests)
        assert requests[-1].json["adults"] == now.value("select adults from reservations where id = 'CHANGED'")
        assert await bridge.terminate() == 0
