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


def read_by_mapping(database: Database, table: str) -> None:
    """Have the payload view read one table more."""
    ((definition,),) = database.execute("select rtrim(pg_get_viewdef('cdc_bridge.reservation_payload'), ';')")
    database.execute(f"grant select on {table} to cdc_bridge_owner")
    database.execute(
        "create or replace view cdc_bridge.reservation_payload as "
        f"select * from ({definition}) as shown where (select count(*) from {table}) >= 0"
    )


async def test_partition_that_came_later_is_told_by_check_and_attached_by_another_attach(
    database: Database, bridges: Bridges
) -> None:
    database.execute(PARTITIONED)
    read_by_mapping(database, "bookings")
    database.execute(
        "create table bookings_2027 partition of bookings for values from ('2027-01-01') to ('2028-01-01'); "
        "insert into bookings values ('A', '2027-05-01')"
    )
    assert database.execute(LOGGED) == [("A", "I")]
    code, output, _ = await run_command("check", "--json", **bridges.settings)
    checks = {check["name"]: check for check in json.loads(output)["checks"]}
    assert (code, checks["capture"]["verdict"]) == (0, "warning")
    assert "public.bookings_2027" in checks["capture"]["detail"]
    assert "select cdc_bridge.attach('public.bookings', 'id');" in checks["capture"]["remedy"]
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
    assert "table public.reservations has lost its column id, so e-Res cannot write to it" in output
    database.execute("select cdc_bridge.attach('reservations', 'number')")
    database.execute(booking, ("A",))
    assert database.execute(LOGGED) == [("A", "I")]


async def test_row_security_that_may_hide_reservations_is_told(database: Database, bridges: Bridges) -> None:
    database.execute("alter table customers enable row level security")
    code, output, _ = await run_command("check", "--json", **bridges.settings)
    checks = {check["name"]: check for check in json.loads(output)["checks"]}
    assert (code, checks["mapping"]["verdict"]) == (0, "warning")
    assert "row security may hide rows on public.customers from cdc_bridge_owner" in checks["mapping"]["detail"]
    database.execute(checks["mapping"]["remedy"].removeprefix("Run as a DBA: "))
    database.execute("insert into customers (id) values ('C')")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("set role cdc_bridge_owner")
        assert connection.execute("select id from customers").fetchall() == [("C",)]


@pytest.mark.parametrize("invoker", ["false", "true"])
async def test_row_security_is_judged_for_the_role_that_the_nested_view_reads_as(
    database: Database, bridges: Bridges, invoker: str
) -> None:
    owner = f"extras_owner_{database.name}"
    database.execute(
        f"create role {owner}; create table extras (id text); alter table extras enable row level security; "
        f"create view nested with (security_invoker = {invoker}) as select * from extras; "
        f"alter table extras owner to {owner}; alter view nested owner to {owner}; "
        "grant select on extras to cdc_bridge_owner, cdc_bridge"
    )
    try:
        read_by_mapping(database, "nested")
        _, output, _ = await run_command("check", "--json", **bridges.settings)
        mapping = {check["name"]: check for check in json.loads(output)["checks"]}["mapping"]
        warned = "may hide rows on public.extras from cdc_bridge," in mapping["detail"]
        assert (mapping["verdict"], warned) == (("warning", True) if invoker == "true" else ("ok", False))
    finally:
        database.execute(f"drop owned by {owner} cascade; drop role {owner}")


async def test_partition_that_was_detached_is_told_and_what_is_said_takes_its_triggers(
    database: Database, bridges: Bridges
) -> None:
    database.execute(PARTITIONED)
    read_by_mapping(database, "bookings")
    database.execute("alter table bookings detach partition bookings_2025")
    _, output, _ = await run_command("check", "--json", **bridges.settings)
    capture = {check["name"]: check for check in json.loads(output)["checks"]}["capture"]
    assert capture["verdict"] == "warning"
    assert "attached to public.bookings_2025, which the mapping does not read" in capture["detail"]
    statement = capture["remedy"].partition("as a DBA: ")[2]
    database.execute(statement)
    assert statement == "select cdc_bridge.detach('public.bookings_2025');"
    _, output, _ = await run_command("check", **bridges.settings)
    assert "! capture" not in output


async def test_trigger_dropped_from_a_partition_is_put_back_by_what_is_said(
    database: Database, bridges: Bridges
) -> None:
    database.execute(PARTITIONED)
    database.execute("drop trigger cdc_bridge_update on bookings_2026")
    code, output, _ = await run_command("check", "--json", **bridges.settings)
    capture = {check["name"]: check for check in json.loads(output)["checks"]}["capture"]
    assert (code, capture["verdict"]) == (1, "failed")
    assert "missing on public.bookings_2026" in capture["detail"]
    database.execute(capture["remedy"].removeprefix("Run as a DBA: "))
    assert database.execute(
        "select count(*) from pg_trigger where tgrelid = 'bookings_2026'::regclass and tgname like 'cdc_bridge%'"
    ) == [(2,)]
