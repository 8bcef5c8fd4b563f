"""Installing and taking out again, as a DBA does it."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from cdc_bridge.errors import InstallationError
from cdc_bridge.operations import install as operation
from tests.support.bridge import run_command
from tests.support.databases import BRIDGE_PASSWORD, Database
from tests.support.waiting import until

CATALOGUE_ROWS = """
select 'trigger ' || tgname, xmin::text from pg_trigger where tgname like 'cdc_bridge%'
union all
select 'function ' || p.oid::regprocedure, p.xmin::text from pg_proc p where p.proname like 'capture%'
order by 1
"""
BOOKING = (
    "insert into customers (id) values ('C'); insert into reservations (id, cust_id, reference) values ('R', 'C', 1)"
)


def schema_of(database: Database, programs: Path) -> str:
    """Return pg_dump's account of the schema."""
    dumped = subprocess.run(
        [programs / "pg_dump", "--schema-only", "--dbname", database.url], capture_output=True, check=True, text=True
    )
    return re.sub(r"^\\(un)?restrict .*$", "", dumped.stdout, flags=re.MULTILINE)


def run_psql(database: Database, programs: Path, text: str) -> None:
    subprocess.run(
        [programs / "psql", "--dbname", database.url, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"],
        input=text, capture_output=True, check=True, text=True,
    )  # fmt: skip


async def test_database_url_is_all_that_install_needs(example_database: Database) -> None:
    code, output, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert (code, errors) == (0, "")
    assert "Capture is attached to reservations." in output
    example_database.execute(BOOKING)
    assert example_database.execute("select reservation_id, operation::text from cdc_bridge.change") == [("R", "I")]
    assert example_database.value("select count(*) from cdc_bridge.reservation_payload") == 1


async def test_printed_text_does_the_same_in_psql(
    example_database: Database, empty_database: Database, programs: Path
) -> None:
    code, printed, _ = await run_command("install", "--print")
    assert code == 0
    assert not [line for line in printed.splitlines() if line.startswith("\\")]
    run_psql(example_database, programs, printed)
    empty_database.execute((operation.sql_folder() / "example" / "schema.sql").read_text())
    await operation.install(empty_database.url, None, say=lambda _: None)
    assert schema_of(example_database, programs) == schema_of(empty_database, programs)


def test_file_does_the_same_in_psql(example_database: Database, database: Database, programs: Path) -> None:
    run_psql(example_database, programs, f"\\ir {operation.sql_folder()}/install.sql")
    assert schema_of(example_database, programs) == schema_of(database, programs)


async def test_second_install_changes_nothing(database: Database, programs: Path) -> None:
    before = (database.execute(CATALOGUE_ROWS), schema_of(database, programs))
    assert before[0] != []
    run_psql(database, programs, operation.install_text())
    code, output, _ = await run_command("install", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 0
    assert "it was before" in output
    assert (database.execute(CATALOGUE_ROWS), schema_of(database, programs)) == before


async def test_uninstall_leaves_the_schema_as_it_was(example_database: Database, programs: Path) -> None:
    before = schema_of(example_database, programs)
    await operation.install(example_database.url, None, say=lambda _: None)
    example_database.execute(BOOKING)
    assert schema_of(example_database, programs) != before
    code, output, errors = await run_command("uninstall", "--yes", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert (code, errors) == (0, "")
    assert "out of" in output
    assert schema_of(example_database, programs) == before
    example_database.execute("update reservations set adults = 3")
    code, _, _ = await run_command("uninstall", "--yes", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert code == 0


async def test_uninstall_without_a_terminal_asks_for_yes_and_says_what_would_be_lost(database: Database) -> None:
    database.execute(BOOKING)
    code, output, errors = await run_command("uninstall", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 2
    assert "change log (1 changes)" in output
    assert "uninstall --yes" in errors
    assert database.value("select to_regclass('cdc_bridge.change') is not null")


async def test_mapping_of_ones_own_is_kept_by_a_later_install(
    example_database: Database, programs: Path, tmp_path: Path
) -> None:
    shipped = (operation.sql_folder() / "mapping.sql").read_text()
    (own := tmp_path / "own.sql").write_text(shipped.replace("  r.notes", "  r.notes || ' (ours)' as notes"))
    code, _, _ = await run_command("install", "--mapping", str(own), CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert code == 0
    with_own = schema_of(example_database, programs)
    assert "(ours)" in with_own
    code, output, _ = await run_command("install", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert code == 0
    assert "mapping that was there is kept" in output
    assert schema_of(example_database, programs) == with_own


async def test_mapping_that_names_what_is_not_there_is_refused_and_nothing_changed(
    empty_database: Database, example_database: Database, programs: Path, tmp_path: Path
) -> None:
    before = schema_of(empty_database, programs)
    code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=empty_database.url)
    assert code == 1
    assert 'relation "public.reservations" does not exist' in errors
    assert "Nothing was changed" in errors
    assert "--mapping FILE" in errors
    assert schema_of(empty_database, programs) == before
    shipped = (operation.sql_folder() / "mapping.sql").read_text()
    (wrong := tmp_path / "wrong.sql").write_text(shipped.replace("'id')", "'reference')"))
    code, _, errors = await run_command(
        "install", "--mapping", str(wrong), CDC_BRIDGE_DATABASE_URL=example_database.url
    )
    assert code == 1
    assert "no unique index of its own" in errors
    code, _, errors = await run_command(
        "install", "--mapping", "/nowhere.sql", CDC_BRIDGE_DATABASE_URL=example_database.url
    )
    assert code == 1
    assert "/nowhere.sql cannot be read" in errors


async def test_locked_table_is_waited_for_and_then_refused(
    example_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "_LOCK_TRIES", 2)
    monkeypatch.setattr(operation, "_LOCK_PAUSE_SECONDS", 0.01)
    said: list[str] = []
    async with example_database.connection(autocommit=False) as other:
        await other.execute("update reservations set adults = 3")
        with pytest.raises(InstallationError, match="stayed locked"):
            await operation.install(example_database.url, None, said.append)
        assert f"pid {other.info.backend_pid}" in said[0]
    assert not example_database.value("select to_regnamespace('cdc_bridge') is not null")


async def test_lock_that_is_let_go_in_time_does_not_stop_the_install(example_database: Database) -> None:
    said: list[str] = []
    async with example_database.connection(autocommit=False) as other:
        await other.execute("update reservations set adults = 3")
        installing = asyncio.create_task(operation.install(example_database.url, None, said.append))
        await until(lambda: bool(said), "it says that it waits")
        await other.commit()
        await installing
    assert example_database.value("select count(*) from pg_trigger where tgname like 'cdc_bridge%'") == 2


async def test_newer_schema_is_not_put_back(database: Database) -> None:
    database.execute("insert into cdc_bridge.schema_version (version) values (99)")
    code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 1
    assert "newer than version 1" in errors


async def test_role_without_rights_is_told_which_it_needs(example_database: Database) -> None:
    url = example_database.bridge_url
    code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=url)
    assert code == 1
    assert "superuser, or" in errors
    assert BRIDGE_PASSWORD not in errors


async def test_two_installs_at_once_both_succeed_or_say_so(example_database: Database) -> None:
    results = await asyncio.gather(
        *(operation.install(example_database.url, None, say=lambda _: None) for _ in range(2)), return_exceptions=True
    )
    assert [result for result in results if result is not None and not isinstance(result, InstallationError)] == []
    await operation.install(example_database.url, None, say=lambda _: None)
    assert example_database.value("select count(*) from pg_trigger where tgname like 'cdc_bridge%'") == 2


async def test_writes_go_on_when_no_daemon_ever_comes(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("listen cdc_bridge_change")
        for number in range(200):
            connection.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (f"R{number}",))
        connection.execute("select pg_notify('cdc_bridge_change', 'the end')")
        assert [ring.payload for ring in connection.notifies(timeout=10, stop_after=1)] == ["the end"]
    assert database.value("select count(*) from cdc_bridge.change") == 200


async def test_detach_is_the_emergency_switch(database: Database) -> None:
    for _ in range(2):
        database.execute("select cdc_bridge.detach('reservations')")
    database.execute(BOOKING)
    assert database.value("select count(*) from cdc_bridge.change") == 0
    for _ in range(2):
        database.execute("select cdc_bridge.attach('reservations', 'id')")
    database.execute("update reservations set adults = 3")
    assert database.value("select count(*) from cdc_bridge.change") == 1
