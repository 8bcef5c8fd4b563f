"""A dump restored into another cluster: nothing is sent until a DBA says so, and then nothing is lost or repeated."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from cdc_bridge.schema.sql_text import sql_folder
from tests.support.bridge import Bridges, run_command
from tests.support.databases import BRIDGE_PASSWORD, Database
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.server import Server
from tests.support.waiting import until

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
CHANGE = "update reservations set adults = adults + 1 where id = %s"


def restored_in(other: ThrowawayPostgres, database: Database, programs: Path) -> Database:
    """Dump a database as a DBA does, and restore it in another cluster."""
    copy = Database(Server("own", other.url, other.binaries), "postgres")
    copy.execute((sql_folder() / "roles.sql").read_text())
    with psycopg.connect(copy.url, autocommit=True) as connection:
        connection.execute(sql.SQL("alter role cdc_bridge password {}").format(sql.Literal(BRIDGE_PASSWORD)))
    dump = subprocess.run([programs / "pg_dump", "--dbname", database.url], capture_output=True, check=True)
    subprocess.run(
        [programs / "psql", "--dbname", copy.url, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"],
        input=dump.stdout, capture_output=True, check=True,
    )  # fmt: skip
    return copy


async def test_restored_database_calls_nobody_until_it_is_adopted_and_then_loses_and_repeats_nothing(
    database: Database, durable_server: ThrowawayPostgres, programs: Path, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    receiver.script = lambda request: Response(422 if request.reservation_id == "WAITING" else 200)
    bridge = await bridges.start()
    for id_ in ("DELIVERED", "CHANGED-LATER", "WAITING"):
        database.execute(BOOKING, (id_,))
    settled = "select count(*) from cdc_bridge.delivery"
    await until(lambda: database.value(settled) == 3, "all are in the delivery log")
    assert await bridge.terminate() == 0
    for id_ in ("NEW", "CHANGED-LATER"):
        database.execute(BOOKING + " on conflict (id) do update set adults = 7", (id_,))
    database.execute(CHANGE, ("CHANGED-LATER",))
    copy = restored_in(durable_server, database, programs)
    for _ in range(50):
        database.execute(CHANGE, ("DELIVERED",))  # after the dump
    newest_there = max(request.sequence for request in receiver.requests)
    receiver.requests.clear()
    receiver.delivered.clear()
    receiver.script = lambda _: Response()

    settings = bridges.settings | {"CDC_BRIDGE_DATABASE_URL": copy.bridge_url}
    bridge = await bridges.start_on(copy)
    line = await bridge.wait_for_log("endpoint invalid")
    assert "select cdc_bridge.adopt();" in line["problem"]
    code, output, _ = await run_command("check", **settings)
    assert code == 1
    assert "✗ endpoints        default is invalid: this database was restored from a dump" in output
    copy.execute(BOOKING, ("MEANWHILE",))
    assert receiver.requests == []

    queued = copy.value("select cdc_bridge.adopt()")
    assert queued == 4  # NEW, twice CHANGED-LATER, and MEANWHILE; what waited waits on
    await receiver.wait_for_delivered(3)
    copy.execute("update cdc_bridge.delivery set next_attempt_at = now() where reservation_id = 'WAITING'")
    copy.execute(CHANGE, ("DELIVERED",))
    await receiver.wait_for_delivered(5)
    assert sorted(request.reservation_id for request in receiver.requests) == [
        "CHANGED-LATER", "DELIVERED", "MEANWHILE", "NEW", "WAITING"
    ]  # fmt: skip
    assert await bridge.terminate() == 0
    assert min(request.sequence for request in receiver.requests) > newest_there
    open_deliveries = "select count(*) from cdc_bridge.delivery where state in ('queued', 'retrying')"
    assert copy.value(open_deliveries) == 0


def test_adopting_while_others_write_skips_nothing(database: Database) -> None:
    """What is committed after it stays in the log, to be read from the new position."""
    database.execute("insert into customers (id) values ('C')")
    database.execute(BOOKING, ("BEFORE",))
    with psycopg.connect(database.url) as writer:
        writer.execute(BOOKING, ("OPEN",))
        assert database.value("select cdc_bridge.adopt()") == 0  # there is no endpoint yet
        assert database.value("select count(*) from cdc_bridge.change") == 0
    assert database.execute("select reservation_id from cdc_bridge.change") == [("OPEN",)]
