"""Attaching capture: which tables and keys are taken, that a booking never fails for it, and partitions."""

from __future__ import annotations

import json

import psycopg
import pytest
from psycopg import errors

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database

LOGGED = "select reservation_id, operation::text from cdc_bridge.change order by seq"
TRIGGERS = (
    "select tgrelid::regclass::text, tgname::text from pg_trigger where tgname like 'cdc\\_bridge\\_%' "
    "and tgrelid::regclass::text like 'bookings%' order by 1, 2"
)
PARTITIONED = """
create table bookings (id text, at date, guests integer default 1, primary key (id, at)) partition by range (at);
create table bookings_2025 partition of bookings for values from ('2025-01-01') to ('2026-01-01');
create table bookings_2026 partition of bookings for values from ('2026-01-01') to ('2027-01-01');
select cdc_bridge.attach('bookings', 'id');
"""


def assert_refused(database: Database, definition: str, error: type[psycopg.Error], words: str) -> None:
    database.execute(definition)
    before = database.execute("select oid from pg_proc union select oid from pg_trigger order by 1")
    with pytest.raises(error, match=words):
        database.execute("select cdc_bridge.attach('bookings', 'id')")
    assert database.execute("select oid from pg_proc union select oid from pg_trigger order by 1") == before


@pytest.mark.parametrize(
    ("definition", "error", "words"),
    [
        ("create view bookings as select '1' as id", errors.WrongObjectType, "not a table that reservations can be in"),
        ("create table bookings (number text primary key)", errors.UndefinedColumn, 'has no column "id"'),
        ("create table bookings (id text not null)", errors.InvalidTableDefinition, "no unique index of its own"),
        ("create table bookings (id text unique)", errors.InvalidTableDefinition, "may be null"),
        (
            "create table bookings (id text not null, b text, unique (id, b))",
            errors.InvalidTableDefinition,
            "no unique index of its own",
        ),
        (
            "create table bookings (id text not null); create unique index on bookings (id) where id <> 'x'",
            errors.InvalidTableDefinition,
            "no unique index of its own",
        ),
    ],
)
def test_table_or_key_that_will_not_do_is_refused_and_nothing_changed(
    definition: str, error: type[psycopg.Error], words: str, database: Database
) -> None:
    assert_refused(database, definition, error, words)


@pytest.mark.parametrize("table", ["cdc_bridge.change", "pg_catalog.pg_class"])
def test_table_that_is_not_of_e_res_is_refused(table: str, database: Database) -> None:
    with pytest.raises(errors.WrongObjectType):
        database.execute(f"select cdc_bridge.attach('{table}', 'oid')")


@pytest.mark.parametrize("conflict", ["error", "use_column", "use_variable"])
def test_columns_that_are_called_as_variables_of_capture_make_no_booking_fail(
    conflict: str, database: Database
) -> None:
    database.execute(
        "create table bookings (id text primary key, changed_at text, tg_op text, operation text, xid text, seq text); "
        "select cdc_bridge.attach('bookings', 'id')"
    )
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"set plpgsql.variable_conflict = {conflict}".encode())
        connection.execute("set plpgsql.extra_errors = 'all'; set plpgsql.extra_warnings = 'all'")
        connection.execute("insert into bookings values ('A', 'x', 'y', 'z', 'u', 'v')")
        connection.execute("update bookings set changed_at = 'w'")
    assert database.execute(LOGGED) == [("A", "I"), ("A", "U")]
    assert database.value("select max(changed_at) > now() - interval '1 minute' from cdc_bridge.change")


def test_another_key_replaces_the_triggers_and_the_function_that_nobody_needs(database: Database) -> None:
    database.execute(
        "create table bookings (id text primary key, number integer not null unique); "
        "select cdc_bridge.attach('bookings', 'id'); select cdc_bridge.attach('bookings', 'number'); "
        "insert into bookings values ('A', 1)"
    )
    assert database.execute(LOGGED) == [("1", "I")]
    functions = "select proname::text from pg_proc where proname like 'capture%' order by 1"
    assert database.execute(functions) == [("capture_by_id",), ("capture_by_number",)]
    database.execute("select cdc_bridge.attach('bookings', 'id')")
    assert database.execute(functions) == [("capture_by_id",)]


def test_statement_on_the_whole_and_one_on_a_partition_are_captured_once(database: Database) -> None:
    database.execute(PARTITIONED)
    database.execute("insert into bookings values ('A', '2025-05-01'), ('B', '2026-05-01')")
    database.execute("insert into bookings_2026 values ('C', '2026-06-01')")
    database.execute("update bookings set guests = 2")
    database.execute("update bookings_2025 set guests = 3")
    changes = sorted(database.execute(LOGGED)[:2]) + database.execute(LOGGED)[2:3]
    assert changes == [("A", "I"), ("B", "I"), ("C", "I")]
    later = database.execute(LOGGED)[3:]
    assert sorted(later[:3]) == [("A", "U"), ("B", "U"), ("C", "U")]
    assert later[3:] == [("A", "U")]


def test_row_that_moves_to_another_partition_is_captured(database: Database) -> None:
    database.execute(PARTITIONED)
    database.execute("insert into bookings values ('A', '2025-05-01')")
    database.execute("update bookings set at = '2026-05-01'")
    assert {id_ for id_, _ in database.execute(LOGGED)[1:]} == {"A"}
    assert database.value("select count(*) from bookings_2026") == 1


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


def test_detach_takes_capture_off_all_partitions(database: Database) -> None:
    database.execute(PARTITIONED)
    assert len(database.execute(TRIGGERS)) == 6
    database.execute("select cdc_bridge.detach('bookings')")
    assert database.execute(TRIGGERS) == []
    database.execute("insert into bookings values ('A', '2025-05-01')")
    assert database.execute(LOGGED) == []


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
