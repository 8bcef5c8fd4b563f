"""PostgreSQL dies, stops or ends sessions under load: the daemon waits, loses nothing and repeats little."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.length import chosen
from tests.support.load import Load
from tests.support.proxy import Proxy
from tests.support.receiver import Receiver
from tests.support.waiting import until

NEW_RESERVATION = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
SESSIONS_OF_THE_DAEMON = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity "
    "where datname = current_database() and usename = 'cdc_bridge'"
)
ALL_OTHER_SESSIONS = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid()"
)
UNDER_WAY = 1500
"""The most changes that a pipeline keeps in memory, by default."""
RECORDED = "select count(*) from cdc_bridge.delivery"
READ_SINCE = (
    "select exists (select from pg_stat_activity "
    "where usename = 'cdc_bridge' and query like '%%branches.*%%' and query_start > %s and state = 'idle')"
)


@pytest.mark.timeout(chosen(180, 600))
@pytest.mark.parametrize("end", ["killed", "stopped as in a crash", "stopped"])
async def test_nothing_is_lost_when_postgresql_dies_under_load(
    end: str, durable_server: ThrowawayPostgres, durable_load: Load, durable_bridges: Bridges
) -> None:
    bridge = await durable_bridges.start()
    async with durable_load.running():
        for _ in range(chosen(2, 12)):
            await durable_load.delivered(15)
            logged = len(bridge.log)
            match end:
                case "killed":
                    await asyncio.to_thread(durable_server.kill)
                case "stopped as in a crash":
                    await asyncio.to_thread(durable_server.stop, "immediate")
                case _:
                    await asyncio.to_thread(durable_server.stop)
            await bridge.wait_for_log("database lost", since=logged)
            await asyncio.to_thread(durable_server.start)
            await bridge.wait_for_log("database back", since=logged)
    found = await durable_load.assert_promises_kept()
    assert found.duplicates <= UNDER_WAY * chosen(2, 12)  # Nothing that was under way counts as delivered.
    assert await bridge.terminate() == 0


@pytest.mark.parametrize("sessions", [SESSIONS_OF_THE_DAEMON, ALL_OTHER_SESSIONS], ids=["the daemon's", "all"])
async def test_nothing_is_lost_when_sessions_are_terminated_under_load(
    sessions: str, load: Load, database: Database, bridges: Bridges
) -> None:
    bridge = await bridges.start()
    async with load.running():
        for _ in range(chosen(5, 50)):
            await load.delivered(10)
            database.execute(sessions)
    found = await load.assert_promises_kept()
    assert found.duplicates == 0
    assert await bridge.terminate() == 0


async def test_change_under_a_transaction_id_drawn_again_after_a_crash_is_not_skipped(
    durable_server: ThrowawayPostgres, durable_database: Database, receiver: Receiver, durable_bridges: Bridges
) -> None:
    durable_database.execute("alter system set wal_writer_delay = '10s'")
    durable_database.execute("select pg_reload_conf()")
    durable_database.execute("insert into customers (id) values ('C')")
    proxy = Proxy("127.0.0.1", durable_server.port)
    await proxy.start()
    bridge = await durable_bridges.start(
        CDC_BRIDGE_DATABASE_URL=proxy.through(durable_database.bridge_url),
        CDC_BRIDGE_WAKE="poll",
        CDC_BRIDGE_POLL_INTERVAL_SECONDS="0.05",
    )
    committed, again = 0, set[str]()
    for _ in range(5):  # A checkpoint may come in between, and save the ids.
        durable_database.execute(NEW_RESERVATION, (f"R{committed}",))
        await receiver.wait_for_delivered(committed := committed + 1)
        await until(lambda: durable_database.value(RECORDED) == len(receiver.delivered), "the delivery is recorded")
        rolled_back = draw_and_roll_back_transaction_ids(durable_database)
        await wait_until_read_again(durable_database)
        await proxy.cut()
        durable_server.kill()
        durable_server.start()
        for _ in rolled_back:
            durable_database.execute(NEW_RESERVATION, (f"R{committed}",))
            committed += 1
        again |= rolled_back & {xid for (xid,) in durable_database.execute("select xid::text from cdc_bridge.change")}
        await proxy.start()
        await receiver.wait_for_delivered(committed)
        if again:
            break
    else:
        pytest.fail("no crash made PostgreSQL draw transaction ids again")
    assert await bridge.terminate() == 0
    await proxy.cut()


def draw_and_roll_back_transaction_ids(database: Database) -> set[str]:
    drawn = set()
    with psycopg.connect(database.url) as connection:
        for _ in range(5):
            record = connection.execute("select pg_current_xact_id()::text").fetchone()
            assert record is not None
            drawn.add(record[0])
            connection.rollback()
    return drawn


async def wait_until_read_again(database: Database) -> None:
    """Wait until the daemon has read the change log in a statement that began after now."""
    now = database.value("select clock_timestamp()")
    await until(lambda: bool(database.value(READ_SINCE, (now,))), "the daemon reads the change log")
