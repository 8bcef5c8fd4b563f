"""What ``check`` finds wrong with capture, and that what it says mends it."""

from __future__ import annotations

import json

import psycopg
import pytest
from psycopg import errors

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database

LOGGED = "select reservation_id, operation::text from cdc_bridge.change order by seq"
PARTITIONED = """
create table bookings (id text, at date, guests integer default 1, primary key (id, at)) partition by range (at);
create table bookings_2025 partition of bookings for values from ('2025-01-01') to ('2026-01-01');
create table bookings_2026 partition of bookings for values from ('2026-01-01') to ('2027-01-01');
select cdc_bridge.attach('bookings', 'id');
"""


async def test_partition_that_came_later_is_told_by_check_and_attached_by_another_attach(
    database: Database, bridges: Bridges
) -> None:
    database.execute(PARTITIONED)
    database.execute(
        "create table bookings_2027 partition of bookings for values from ('2027-01-01') to ('2028-01-01'); "
        "insert into bookings values ('A', '2027-05-01')"
    )
    assert database.execute(LOGGED) == [("A", "I")]
    code, output, _ = await run_command("check", "--json", **bridges.settings)
    checks = {check["name"]: check for check in json.loads(output)["checks"]}
    assert (code, checks["capture"]["verdict"]) == (0, "warning")
    assert "bookings_2027" in checks["capture"]["detail"]
    assert "select cdc_bridge.attach('bookings', 'id');" in checks["capture"]["remedy"]
    database.execute(checks["capture"]["remedy"].removeprefix("Run as a DBA: "))
    database.execute("update bookings_2027 set guests = 2")
    assert database.execute(LOGGED) == [("A", "I"), ("A", "U")]
    code, output, _ = await run_command("check", **bridges.settings)
    assert "! capture" not in output


async def test_key_that_was_renamed_is_told_and_attach_with_its_new_name_mends_it(
    database: Database, bridges: Bridges
) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("alter table reservations rename column id to number")
    booking = "insert into reservations (number, cust_id, reference) values (%s, 'C', 1)"
    with pytest.raises(errors.UndefinedColumn, match=r"changed_rows\.id"):
        database.execute(booking, ("A",))
    code, output, _ = await run_command("check", **bridges.settings)
    assert code == 1
    assert "✗ capture" in output
    assert "table reservations has no column id any more, so e-Res cannot write to it" in output
    database.execute("select cdc_bridge.attach('reservations', 'number')")
    database.execute(booking, ("A",))
    assert database.execute(LOGGED) == [("A", "I")]


async def test_row_security_that_may_hide_reservations_is_told(database: Database, bridges: Bridges) -> None:
    database.execute("alter table customers enable row level security")
    code, output, _ = await run_command("check", "--json", **bridges.settings)
    checks = {check["name"]: check for check in json.loads(output)["checks"]}
    assert (code, checks["mapping"]["verdict"]) == (0, "warning")
    assert "row security on customers may hide rows from cdc_bridge_owner" in checks["mapping"]["detail"]
    remedy = checks["mapping"]["remedy"].removeprefix("Run as a DBA, for each table: ")
    database.execute(remedy.replace("TABLE", "customers"))
    database.execute("insert into customers (id) values ('C')")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("set role cdc_bridge_owner")
        assert connection.execute("select id from customers").fetchall() == [("C",)]
