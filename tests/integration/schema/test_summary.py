"""What install says of capture and payloads is so, and it repairs what was dropped; the command and psql alike."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cdc_bridge.schema.sql_text import sql_folder
from tests.support.bridge import run_command
from tests.support.databases import Database

SHIPPED = (sql_folder() / "mapping.sql").read_text(encoding="utf-8")
TRIGGERS = "select count(*) from pg_trigger where tgname like 'cdc_bridge_%' and tgrelid = 'reservations'::regclass"
ATTACH = "select cdc_bridge.attach('public.reservations', 'id');"

Install = Callable[[Path | None], Awaitable[list[str]]]


def run_psql(database: Database, programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Install with psql."""
    return subprocess.run(
        [programs / "psql", "--dbname", database.url, "--no-psqlrc", *arguments, "--file",
         sql_folder() / "install.sql"],
        capture_output=True, check=False, text=True,
    )  # fmt: skip


@pytest.fixture(params=["command", "psql"])
def install(request: pytest.FixtureRequest, database: Database, programs: Path) -> Install:
    """Install, with a mapping or without, and return the lines of the summary."""

    async def by_command(mapping: Path | None = None) -> list[str]:
        arguments = [] if mapping is None else ["--mapping", str(mapping)]
        code, output, errors = await run_command("install", *arguments, CDC_BRIDGE_DATABASE_URL=database.url)
        assert (code, errors) == (0, "")
        return output.splitlines()

    async def by_psql(mapping: Path | None = None) -> list[str]:
        arguments = [] if mapping is None else ["--set", f"mapping={mapping}"]
        ran = await asyncio.to_thread(run_psql, database, programs, *arguments)
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout.splitlines()

    return by_command if request.param == "command" else by_psql


async def test_dropped_trigger_is_put_back_and_named(install: Install, database: Database) -> None:
    database.execute("drop trigger cdc_bridge_update on reservations")
    lines = await install(None)
    assert "Capture is attached to public.reservations." in lines
    assert "Capture is repaired: public.reservations. Then: cdc-bridge reconcile --repair" in lines
    assert database.value(TRIGGERS) == 2
    assert not [line for line in await install(None) if "repaired" in line]


async def test_both_dropped_triggers_are_put_back(install: Install, database: Database) -> None:
    database.execute("drop trigger cdc_bridge_insert on reservations; drop trigger cdc_bridge_update on reservations")
    await install(None)
    assert database.value(TRIGGERS) == 2


async def test_partition_that_came_later_gets_its_triggers(install: Install, database: Database) -> None:
    database.execute(
        "create table bookings (id text, at date, primary key (id, at)) partition by range (at); "
        "select cdc_bridge.attach('bookings', 'id'); "
        "create table bookings_2027 partition of bookings for values from ('2027-01-01') to ('2028-01-01')"
    )
    assert "Capture is repaired: public.bookings_2027. Then: cdc-bridge reconcile --repair" in await install(None)


async def test_trigger_of_a_related_table_is_put_back(install: Install, database: Database) -> None:
    database.execute(
        "create table lines (line_id int primary key, booking text); "
        "select cdc_bridge.attach_related('lines', reservation_key => 'booking'); "
        "drop trigger cdc_bridge_delete_1 on lines"
    )
    lines = await install(None)
    assert "Changes of public.lines are changes of reservations." in lines
    assert "Capture is repaired: public.lines. Then: cdc-bridge reconcile --repair" in lines


LEFT = {
    "capture that was switched off": (
        "select cdc_bridge.disable_capture()",
        "capture was switched off by cdc_bridge.disable_capture()",
        "select cdc_bridge.enable_capture();",
    ),
    "capture that was switched off, without a trigger": (
        "drop trigger cdc_bridge_update on reservations; select cdc_bridge.disable_capture()",
        "trigger cdc_bridge_update is missing on public.reservations",
        ATTACH,
    ),
    "trigger that was disabled": (
        "alter table reservations disable trigger cdc_bridge_update",
        "trigger cdc_bridge_update on public.reservations is disabled",
        "alter table public.reservations enable trigger cdc_bridge_update;",
    ),
    "other table of the same name": (
        "alter table reservations rename to former; create table reservations (like former including all)",
        "table public.reservations is another one than capture was attached to, so nothing is captured",
        ATTACH,
    ),
    "table that is gone": (
        "drop table reservations",
        "table public.reservations does not exist any more, so nothing is captured",
        ATTACH,
    ),
}


@pytest.mark.parametrize("name", LEFT)
async def test_what_a_dba_has_to_decide_is_left_and_said(name: str, install: Install, database: Database) -> None:
    setup, problem, remedy = LEFT[name]
    database.execute(setup)
    before = database.execute("select tgrelid, tgname, tgenabled from pg_trigger order by 1, 2")
    lines = await install(None)
    assert f"Capture is NOT complete: {problem}." in lines
    assert f"  Run: {remedy} Then: cdc-bridge reconcile --repair" in lines
    assert "Capture is attached to public.reservations." not in lines
    assert database.execute("select tgrelid, tgname, tgenabled from pg_trigger order by 1, 2") == before


async def test_related_table_without_its_triggers_is_not_said_to_be_captured(
    install: Install, database: Database
) -> None:
    database.execute(
        "create index on reservations (cust_id); "
        "select cdc_bridge.attach_related('customers', key => 'id', via => 'cust_id'); "
        "drop trigger cdc_bridge_update_1 on customers"
    )
    lines = await install(None)
    assert "Changes of public.customers are changes of reservations." not in lines
    assert [line for line in lines if line.startswith("Capture is NOT complete: changes of public.customers are not")]


async def test_table_that_cannot_be_repaired_does_not_stop_the_installation(database: Database) -> None:
    """As e-Res's upgrade may leave it: without the trigger, and without the index that attach asks for."""
    database.execute(
        "create table bookings (id text primary key); select cdc_bridge.attach('bookings', 'id'); "
        "drop trigger cdc_bridge_update on bookings; alter table bookings drop constraint bookings_pkey"
    )
    code, output, _ = await run_command("install", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 0
    assert "Capture is NOT complete: trigger cdc_bridge_update is missing on public.bookings." in output


async def test_same_mapping_is_as_before_and_kept(install: Install, database: Database) -> None:
    first, *lines = await install(None)
    assert first == f"Schema cdc_bridge, version 1, is installed in {database.name} (as before)."
    (payload,) = [line for line in lines if line.startswith("Payload")]
    assert payload.endswith("keys (as before).")
    kept = lines.index("The installed mapping is kept. To replace it: cdc-bridge install --mapping FILE,")
    assert lines[kept + 1] == "or: psql -v mapping=FILE -f sql/install.sql"


CHANGED = {
    "two keys": (
        [("  r.status,", "  upper(r.status) as status,"), ("  r.cancelled,", "  'F' as cancelled, -- all\n")],
        "status, cancelled",
    ),
    "key of several lines": ([("  r.notes,", "  case\n    when true then r.notes\n  end as notes,")], "notes"),
    "key of an object": (
        [('  c.title as "customer.title",', "  c.title || '' as \"customer.title\",")],
        "customer.title",
    ),
    "key that is new": ([("  r.wheelchair,\n", "  r.wheelchair,\n  1 as dogs,\n")], "dogs"),
    "join": ([("k.call_id = r.call_id", "k.call_id = r.call_id and true")], "what it reads from"),
    "comment": ([("  r.wheelchair,\n", "  r.wheelchair,  -- a number\n")], "in its comments only"),
}


@pytest.mark.parametrize("name", CHANGED)
async def test_keys_that_a_new_mapping_changes_are_named(
    name: str, install: Install, database: Database, tmp_path: Path
) -> None:
    edits, changes = CHANGED[name]
    text = SHIPPED
    for before, after in edits:
        assert before in text
        text = text.replace(before, after)
    (mapping := tmp_path / "own.sql").write_text(text)
    lines = await install(mapping)
    (payload,) = [line for line in lines if line.startswith("Payload")]
    assert payload.startswith("Payload reservation is replaced, and has ")
    assert payload.endswith(f" keys. Changed: {changes}.")
    assert not [line for line in lines if "is kept" in line]


async def test_lines_with_todo_are_named_with_an_example(install: Install, tmp_path: Path) -> None:
    text = (
        SHIPPED.replace("  r.cancelled,", "  'F' as cancelled,  -- TODO no source found. Cancelled.")
        .replace(
            "  r.allergies,",
            "  -- TODO no source found. Allergies: a long text that stands above.\n  null::text as allergies,",
        )
        .replace("  r.arrived,", "  'F' as arrived,  -- TODO no source found.")
    )
    (mapping := tmp_path / "own.sql").write_text(text)
    lines = await install(mapping)
    told = lines.index("Payload reservation still has 3 lines with TODO, each of which is sent as it stands:")
    assert lines[told + 1 : told + 3] == ["  cancelled, arrived, allergies", "  for example 'F' as cancelled"]
    text = text.replace("  -- TODO no source found. Cancelled.", "").replace("  -- TODO no source found.\n", "\n")
    mapping.write_text(text)
    lines = await install(mapping)
    assert "Payload reservation still has 1 line with TODO, which is sent as it stands:" in lines
    assert "  allergies" in lines
    mapping.write_text(SHIPPED)
    assert not [line for line in await install(mapping) if "TODO" in line]


def test_mapping_without_attach_is_named_by_psql(example_database: Database, programs: Path, tmp_path: Path) -> None:
    """With the command it is rejected: it judges the mapping first."""
    (mapping := tmp_path / "own.sql").write_text(SHIPPED.replace(ATTACH, ""))
    ran = run_psql(example_database, programs, "--set", f"mapping={mapping}")
    assert "Capture is NOT complete: capture is not attached to any table.\n" in ran.stdout
    assert f"  Run: {ATTACH}\n" in ran.stdout
