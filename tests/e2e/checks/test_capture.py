"""What ``check`` finds wrong with capture, and that what it says mends it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.payloads import define_payload, query_of, replace_in_payload

LOGGED = "select reservation_id, operation::text from cdc_bridge.change order by seq"
PARTITIONED = """
create table bookings (id text, at date, guests integer default 1, primary key (id, at)) partition by range (at);
create table bookings_2025 partition of bookings for values from ('2025-01-01') to ('2026-01-01');
create table bookings_2026 partition of bookings for values from ('2026-01-01') to ('2027-01-01');
select cdc_bridge.attach('bookings', 'id');
"""


def read_by_mapping(database: Database, table: str) -> None:
    """Have the payload read one table more."""
    database.execute(f"grant select on {table} to cdc_bridge_loader")
    query = f"select * from ({query_of(database)}) as shown where (select count(*) from public.{table}) >= 0"
    define_payload(database, query)


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
    database.execute(booking, ("A",))
    code, output, _ = await run_command("check", **bridges.settings)
    assert code == 1
    assert "✗ capture" in output
    assert "table public.reservations has no column id any more" in output
    assert "-> Run as a DBA: select cdc_bridge.attach('public.reservations', 'number');\n" in output
    database.execute("select cdc_bridge.attach('public.reservations', 'number');")
    database.execute(booking, ("B",))
    assert database.execute(LOGGED) == [("A", "I"), ("B", "I")]
    _, output, _ = await run_command("check", **bridges.settings)
    assert "✓ capture" in output


SWAPS = {
    "dropped and created again": "drop table reservations; create table reservations (like public.kept including all)",
    "swapped by copy and rename": "alter table reservations rename to old; alter table kept rename to reservations",
}


@pytest.mark.parametrize("name", SWAPS)
async def test_other_table_under_the_name_is_told_and_attaching_it_mends_it(
    name: str, database: Database, bridges: Bridges
) -> None:
    database.execute("create table kept (like reservations including all); grant select on kept to cdc_bridge_loader")
    database.execute(SWAPS[name])
    database.execute("grant select on reservations to cdc_bridge_loader")
    code, output, _ = await run_command("check", "--json", **bridges.settings)
    capture = {check["name"]: check for check in json.loads(output)["checks"]}["capture"]
    assert (code, capture["verdict"]) == (1, "failed")
    assert capture["detail"].startswith("table public.reservations is another one than capture was attached to")
    database.execute(capture["remedy"].partition("a DBA: ")[2].partition(" Then: ")[0])
    assert "cdc-bridge reconcile --repair" in capture["remedy"]
    database.execute("insert into reservations (id, cust_id, reference) values ('A', 'C', 1)")
    assert database.execute(LOGGED) == [("A", "I")]
    _, output, _ = await run_command("check", **bridges.settings)
    assert "✗ capture" not in output


async def test_table_that_is_gone_is_told(database: Database, bridges: Bridges) -> None:
    database.execute("drop table reservations")
    code, output, _ = await run_command("check", **bridges.settings)
    assert code == 1
    assert "table public.reservations does not exist any more, so nothing is captured" in output


@pytest.fixture
def loader_as_before(database: Database) -> Iterator[None]:
    """Roles are the server's."""
    yield
    database.execute("alter role cdc_bridge_loader nobypassrls")


async def mapping_check(bridges: Bridges) -> tuple[int, dict[str, str]]:
    code, output, _ = await run_command("check", "--json", **bridges.settings)
    return code, {check["name"]: check for check in json.loads(output)["checks"]}["mapping"]


@pytest.mark.usefixtures("loader_as_before")
async def test_row_security_makes_the_check_fail_and_what_is_said_mends_it(
    database: Database, bridges: Bridges
) -> None:
    database.execute("alter table customers enable row level security")
    code, mapping = await mapping_check(bridges)
    assert (code, mapping["verdict"]) == (1, "failed")
    assert 'row-level security policy for table "customers"' in mapping["detail"]
    database.execute(mapping["remedy"].removeprefix("Run as a superuser: "))
    code, mapping = await mapping_check(bridges)
    assert (code, mapping["verdict"]) == (0, "ok")


@pytest.mark.parametrize("invoker", ["false", "true"])
async def test_row_security_is_judged_for_the_role_that_the_nested_view_reads_as(
    database: Database, bridges: Bridges, invoker: str
) -> None:
    owner = f"extras_owner_{database.name}"
    database.execute(
        f"create role {owner}; create table extras (id text); alter table extras enable row level security; "
        f"create view nested with (security_invoker = {invoker}) as select * from extras; "
        f"alter table extras owner to {owner}; alter view nested owner to {owner}; "
        "grant select on extras to cdc_bridge_loader"
    )
    try:
        read_by_mapping(database, "nested")
        _, mapping = await mapping_check(bridges)
        named = 'row-level security policy for table "extras"' in mapping["detail"]
        assert (mapping["verdict"], named) == (("failed", True) if invoker == "true" else ("ok", False))
    finally:
        database.execute(f"drop owned by {owner} cascade; drop role {owner}")


async def test_code_of_others_that_the_payload_runs_is_named(database: Database, bridges: Bridges) -> None:
    database.execute(
        "create function public.tidy(text) returns text language sql immutable as 'select $1'; "
        "create view public.nested as select 1 as one"
    )
    read_by_mapping(database, "nested")
    replace_in_payload(database, "  r.notes,", "  public.tidy(r.notes) as notes,")
    _, mapping = await mapping_check(bridges)
    assert mapping["verdict"] == "ok"
    assert "runs code of e-Res as cdc_bridge_loader: " in mapping["detail"]
    assert "public.tidy(text)" in mapping["detail"]
    assert "public.nested" in mapping["detail"]


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
    database.execute(capture["remedy"].removeprefix("Run as a DBA: ").partition(" Then: ")[0])
    assert database.execute(
        "select count(*) from pg_trigger where tgrelid = 'bookings_2026'::regclass and tgname like 'cdc_bridge%'"
    ) == [(2,)]


RESERVATIONS = """
create table dining_room (room_no int primary key, name text);
create table guest (guest_id int primary key, name text);
create table table_booking (
  booking_no int not null unique, "Booking" text primary key, guest_id int references guest,
  room_no int references dining_room
);
grant select on dining_room, guest, table_booking to cdc_bridge_loader;
select cdc_bridge.detach('public.reservations');
"""
ATTACHABLE = {
    "by the key that is selected": (
        """select r."Booking" as id, d.name from public.table_booking as r
          left join public.dining_room d on d.room_no = r.room_no""",
        "select cdc_bridge.attach('public.table_booking', 'Booking');",
    ),
    "by a key that is not the primary one": (
        "select r.booking_no as id from public.table_booking r",
        "select cdc_bridge.attach('public.table_booking', 'booking_no');",
    ),
    "by the table without another name": (
        'select table_booking.booking_no as "id" from public.table_booking left join public.guest using (guest_id)',
        "select cdc_bridge.attach('public.table_booking', 'booking_no');",
    ),
    "by the table that is read first": (
        """select g.name, (select max(d.name) from public.dining_room d) as room, booking_no + 0 as id
          from public.table_booking b left join public.guest g on g.guest_id = b.guest_id""",
        (
            "select cdc_bridge.attach('public.dining_room', 'room_no'); "
            "select cdc_bridge.attach('public.table_booking', 'Booking');"
        ),
    ),
}


@pytest.mark.parametrize("name", ATTACHABLE)
async def test_table_whose_key_the_payload_selects_is_the_one_to_attach(
    name: str, database: Database, bridges: Bridges
) -> None:
    query, statement = ATTACHABLE[name]
    database.execute(RESERVATIONS)
    database.execute("select cdc_bridge.define_payload('reservation', %s)", (query,))
    _, output, _ = await run_command("check", "--json", **bridges.settings)
    capture = {check["name"]: check for check in json.loads(output)["checks"]}["capture"]
    assert capture["detail"] == "capture is not attached to any table"
    assert capture["remedy"] == f"Run as a DBA: {statement}"


async def test_all_that_is_wrong_is_told_at_once(database: Database, bridges: Bridges) -> None:
    database.execute(
        "drop trigger cdc_bridge_insert on reservations; alter table reservations disable trigger cdc_bridge_update"
    )
    _, output, _ = await run_command("check", "--json", **bridges.settings)
    capture = {check["name"]: check for check in json.loads(output)["checks"]}["capture"]
    assert capture["detail"] == (
        "trigger cdc_bridge_insert is missing on public.reservations; "
        "trigger cdc_bridge_update on public.reservations is disabled"
    )
    statements, _, then = capture["remedy"].removeprefix("Run as a DBA: ").partition(" Then: ")
    assert then == "cdc-bridge reconcile --repair"
    database.execute(statements)
    assert database.value("select cdc_bridge.problem_of_capture()") is None


async def test_both_triggers_dropped_is_not_another_table(database: Database, bridges: Bridges) -> None:
    database.execute("drop trigger cdc_bridge_insert on reservations; drop trigger cdc_bridge_update on reservations")
    _, output, _ = await run_command("check", **bridges.settings)
    assert "triggers cdc_bridge_insert and cdc_bridge_update are missing on public.reservations" in output
    assert "another one" not in output
