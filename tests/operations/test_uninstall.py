"""Taking it out again in the ways that an install is tested in."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from cdc_bridge.errors import InstallationError
from cdc_bridge.operations import install as operation
from tests.support.bridge import run_command
from tests.support.databases import Database


def schema_of(database: Database, programs: Path) -> str:
    dumped = subprocess.run(
        [programs / "pg_dump", "--schema-only", "--dbname", database.url], capture_output=True, check=True, text=True
    )
    return re.sub(r"^\\(un)?restrict .*$", "", dumped.stdout, flags=re.MULTILINE)


def run_psql(database: Database, programs: Path, text: str) -> None:
    subprocess.run(
        [programs / "psql", "--dbname", database.url, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"],
        input=text, capture_output=True, check=True, text=True,
    )  # fmt: skip


async def test_printed_text_takes_all_out_in_psql(
    database: Database, example_database: Database, programs: Path
) -> None:
    code, printed, errors = await run_command("uninstall", "--print")
    assert (code, errors) == (0, "")
    assert printed == operation.uninstall_text()
    run_psql(database, programs, printed)
    assert schema_of(database, programs) == schema_of(example_database, programs)


async def test_locked_table_stops_it_and_nothing_is_changed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "_LOCK_TRIES", 1)
    async with database.connection(autocommit=False) as other:
        await other.execute("select from reservations")
        with pytest.raises(InstallationError, match="stayed locked"):
            await operation.uninstall(database.url, say=lambda _: None)
    assert database.value("select count(*) from pg_trigger where tgname like 'cdc_bridge%'") == 2


async def test_two_at_once_both_succeed_or_say_so(database: Database) -> None:
    results = await asyncio.gather(
        *(operation.uninstall(database.url, say=lambda _: None) for _ in range(2)), return_exceptions=True
    )
    assert [result for result in results if result is not None and not isinstance(result, InstallationError)] == []
    await operation.uninstall(database.url, say=lambda _: None)
    assert database.value("select to_regnamespace('cdc_bridge') is null")


@pytest.mark.parametrize("command", [("install",), ("uninstall", "--yes"), ("uninstall",)])
async def test_database_that_is_not_there_is_said_without_the_password(command: tuple[str, ...]) -> None:
    url = "postgresql://dba:top-secret-word@127.0.0.1:1/eres"
    code, output, errors = await run_command(*command, CDC_BRIDGE_DATABASE_URL=url)
    assert code == 1
    assert "cannot be reached" in errors
    assert "top-secret-word" not in output + errors
    assert "Traceback" not in errors
