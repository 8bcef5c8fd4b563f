"""PostgreSQL's queue of notifications, when it is full: a session listens, and never ends its transaction."""

from __future__ import annotations

from contextlib import suppress

import psycopg
import pytest

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database, install_bridge, load_example
from tests.support.receiver import Receiver
from tests.support.server import Server
from tests.support.waiting import until

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
NOTIFY = "select pg_notify('flood', repeat('x', 7900))"
CAPTURED = "select reservation_id from cdc_bridge.change order by seq"


@pytest.fixture
def own_database(small_queue_server: ThrowawayPostgres) -> Database:
    database = Database(Server("own", small_queue_server.url, small_queue_server.binaries), "postgres")
    load_example(database)
    install_bridge(database)
    database.execute("insert into customers (id) values ('C')")
    return database


def fill(connection: psycopg.Connection) -> None:
    """Notify until the queue is full."""
    for _ in range(1000):
        with suppress(psycopg.errors.ProgramLimitExceeded):
            connection.execute(NOTIFY)
            continue
        return
    pytest.fail("the queue is not full")


def test_no_booking_fails_while_the_queue_is_full(own_database: Database) -> None:
    with (
        psycopg.connect(own_database.url) as listening,
        psycopg.connect(own_database.url, autocommit=True) as sleeper,
        psycopg.connect(own_database.url, autocommit=True) as flood,
    ):
        listening.execute("listen flood")
        listening.commit()
        listening.execute("select 1")  # From here on the queue cannot be cleared.
        sleeper.execute("select pg_advisory_lock(52683, 1)")
        sleeper.execute("listen cdc_bridge_change")
        own_database.execute(BOOKING, ("before",))
        assert [notice.channel for notice in sleeper.notifies(timeout=20, stop_after=1)] == ["cdc_bridge_change"]
        fill(flood)
        own_database.execute(BOOKING, ("while it is full",))
        assert own_database.execute(CAPTURED) == [("before",), ("while it is full",)]
        listening.rollback()
        own_database.execute(BOOKING, ("afterwards",))
    assert own_database.execute(CAPTURED)[2:] == [("afterwards",)]


async def test_daemon_lets_go_of_the_wake_up_lock_and_polls_while_the_queue_fills_up(
    own_database: Database, receiver: Receiver, bridge_settings: dict[str, str]
) -> None:
    bridges = Bridges(bridge_settings | {"CDC_BRIDGE_DATABASE_URL": own_database.bridge_url}, own_database)
    asleep = "select exists (select from pg_locks where locktype = 'advisory' and (classid, objid) = (52683, 1))"
    bridge = await bridges.start(CDC_BRIDGE_STUCK_AFTER_SECONDS="10")
    await until(lambda: bool(own_database.value(asleep)), "the daemon sleeps")
    with psycopg.connect(own_database.url) as listening, psycopg.connect(own_database.url, autocommit=True) as flood:
        listening.execute("listen flood")
        listening.commit()
        listening.execute("select 1")
        fill(flood)
        line = await bridge.wait_for_log("notification queue fills up")
        assert line["usage"] > 0.9
        assert "pg_terminate_backend" in line["remedy"]
        await until(lambda: not own_database.value(asleep), "the daemon is awake")
        for number in range(5):
            own_database.execute(BOOKING, (f"R{number}",))
            await receiver.wait_for_delivered(number + 1)
        _, output, _ = await run_command("check", **bridges.settings)
        assert "queue of notifications is" in output
        listening.rollback()
    await until(lambda: bool(own_database.value(asleep)), "the daemon sleeps again")
    own_database.execute(BOOKING, ("afterwards",))
    await receiver.wait_for_delivered(6)
    await bridges.close()
