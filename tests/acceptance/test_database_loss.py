"""The database goes away and comes back: the daemon waits for it and loses nothing."""

from __future__ import annotations

import pytest

from cdc_bridge.operations.throwaway_postgres import ThrowawayPostgres
from tests.support.bridge import Bridges
from tests.support.databases import Database, install_bridge, load_example
from tests.support.proxy import Proxy
from tests.support.receiver import Receiver
from tests.support.server import Server

NEW_RESERVATION = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"


async def test_daemon_waits_for_a_lost_database_and_delivers_what_was_committed_meanwhile(
    database: Database, receiver: Receiver, bridges: Bridges, proxy: Proxy
) -> None:
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start(CDC_BRIDGE_DATABASE_URL=proxy.through(database.bridge_url))
    database.execute(NEW_RESERVATION, ("BEFORE",))
    await receiver.wait_for_accepted(1)
    await bridge.wait_for_log("listening")

    await proxy.cut()
    database.execute(NEW_RESERVATION, ("MEANWHILE",))
    await bridge.wait_for_log("database lost")
    await proxy.start()
    await bridge.wait_for_log("database back")
    await receiver.wait_for(lambda: receiver.accepted[-1].reservation_id == "MEANWHILE", "what was committed meanwhile")
    database.execute(NEW_RESERVATION, ("AFTER",))
    await receiver.wait_for(lambda: receiver.accepted[-1].reservation_id == "AFTER", "what was committed afterwards")
    assert await bridge.terminate() == 0


async def test_terminated_backends_are_replaced(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start()
    await bridge.wait_for_log("listening")
    for number in range(3):
        database.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where datname = current_database() and usename = 'cdc_bridge'"
        )
        database.execute(NEW_RESERVATION, (f"R{number}",))
        await receiver.wait_for_accepted(number + 1)
    assert bridge.running


@pytest.mark.parametrize("mode", ["killed", "stopped"])
async def test_postgresql_dies_under_load_and_nothing_is_lost(
    mode: str, durable_server: ThrowawayPostgres, receiver: Receiver, bridge_settings: dict[str, str]
) -> None:
    server = Server("own", durable_server.url, durable_server.binaries)
    database = Database(server, "postgres")
    load_example(database)
    install_bridge(database)
    database.execute("insert into customers (id) values ('C')")
    bridges = Bridges(bridge_settings | {"CDC_BRIDGE_DATABASE_URL": database.bridge_url})
    try:
        bridge = await bridges.start()
        committed = set[str]()

        def arrived() -> set[str]:
            return {call.reservation_id for call in receiver.accepted}

        for round_ in range(3):
            for number in range(40):
                database.execute(NEW_RESERVATION, (id_ := f"R{round_}-{number}",))
                committed.add(id_)
            logged = len(bridge.log)
            if mode == "killed":
                durable_server.kill()
            else:
                durable_server.stop()
            await bridge.wait_for_log("database lost", since=logged)
            durable_server.start()
            await receiver.wait_for(lambda: arrived() >= committed, "every committed reservation")
        assert await bridge.terminate() == 0
    finally:
        await bridges.close()
