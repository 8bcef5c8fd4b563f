"""Upgrades: the sum of the migrations is an installation, and both daemons work between their two parts.

``version-1.tar.xz`` holds ``cdc_bridge`` and ``sql`` as they were when the schema had version 1 (``git archive``), and
so the daemon of that time.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cdc_bridge.schema import install as operation
from cdc_bridge.schema.sql_text import sql_folder
from cdc_bridge.schema.version import SCHEMA_VERSION
from tests.support.bridge import Bridge, Bridges, run_command
from tests.support.databases import BRIDGE_PASSWORD, Database
from tests.support.dumps import run_psql, schema_of
from tests.support.receiver import Receiver

ARCHIVE = Path(__file__).parent / "version-1.tar.xz"
BEFORE = str(sql_folder() / "migrations/0002-before.sql")
AFTER = str(sql_folder() / "migrations/0002-after.sql")
INSTALL = str(sql_folder() / "install.sql")
VERSIONS = "select version, next_prepared_at is not null from cdc_bridge.schema_version order by version"


@pytest.fixture(scope="session")
def version_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release whose schema had version 1, unpacked."""
    folder = tmp_path_factory.mktemp("version-1")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def old_database(example_database: Database, version_1: Path, programs: Path) -> Database:
    """A database as a DBA installed version 1 in it."""
    run_psql(example_database, programs, "--file", str(version_1 / "sql" / "install.sql"))
    with psycopg.connect(example_database.url, autocommit=True) as connection:
        connection.execute(sql.SQL("alter role cdc_bridge password {}").format(sql.Literal(BRIDGE_PASSWORD)))
    assert example_database.execute("select version from cdc_bridge.schema_version") == [(1,)]
    return example_database


def book(database: Database, reservation_id: str) -> None:
    database.execute("insert into customers (id) values ('C') on conflict do nothing")
    database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (reservation_id,))


def test_sum_of_the_migrations_is_an_installation(old_database: Database, database: Database, programs: Path) -> None:
    assert schema_of(old_database, programs) != schema_of(database, programs)
    run_psql(old_database, programs, "--file", BEFORE, "--file", INSTALL)
    run_psql(old_database, programs, "--file", AFTER)
    assert schema_of(old_database, programs) == schema_of(database, programs)
    assert old_database.execute(VERSIONS) == [(1, True), (2, False)]


async def test_commands_do_the_same_and_say_what_comes_next(
    old_database: Database, database: Database, programs: Path
) -> None:
    url = {"CDC_BRIDGE_DATABASE_URL": old_database.url}
    code, output, errors = await run_command("install", **url)
    assert (code, errors) == (0, "")
    assert "Running migrations/0002-before.sql" in output
    assert "daemons of both versions work with it" in output
    assert "cdc-bridge install --finish" in output
    assert old_database.execute(VERSIONS) == [(1, True)]
    code, output, errors = await run_command("install", "--finish", **url)
    assert (code, errors) == (0, "")
    assert "is version 2 now" in output
    assert schema_of(old_database, programs) == schema_of(database, programs)
    code, output, _ = await run_command("install", "--finish", **url)
    assert code == 0
    assert "nothing to finish" in output


async def test_printed_texts_do_the_same_in_psql(old_database: Database, database: Database, programs: Path) -> None:
    for arguments in (["--upgrade-from", "1"], ["--finish"]):
        code, printed, errors = await run_command("install", "--print", *arguments)
        assert (code, errors) == (0, "")
        assert not [line for line in printed.splitlines() if line.startswith("\\")]
        run_psql(old_database, programs, script=printed)
    assert schema_of(old_database, programs) == schema_of(database, programs)


@pytest.mark.parametrize(
    ("files", "repeated"), [([BEFORE, INSTALL], [BEFORE, INSTALL]), ([BEFORE, INSTALL, AFTER], [INSTALL, AFTER])]
)
def test_each_part_may_be_repeated(
    files: list[str], repeated: list[str], old_database: Database, programs: Path
) -> None:
    for file in files:
        run_psql(old_database, programs, "--file", file)
    before = schema_of(old_database, programs), old_database.execute(VERSIONS)
    for file in repeated:
        run_psql(old_database, programs, "--file", file)
    assert (schema_of(old_database, programs), old_database.execute(VERSIONS)) == before


async def test_old_daemon_works_on_the_new_schema_until_the_upgrade_is_finished(
    old_database: Database, version_1: Path, bridges: Bridges, receiver: Receiver
) -> None:
    settings = bridges.settings | {"CDC_BRIDGE_DATABASE_URL": old_database.bridge_url}
    old = Bridge(settings, project=version_1)
    await old.start()
    try:
        book(old_database, "BEFORE")
        await receiver.wait_for_accepted(1)
        await operation.install(old_database.url, None, say=lambda _: None)
        book(old_database, "BETWEEN")
        await receiver.wait_for_accepted(2)
        assert await old.terminate() == 0

        await old.start()  # Also one that begins between the two parts.
        book(old_database, "BETWEEN-AFTER-A-START")
        await receiver.wait_for_accepted(3)
        assert await old.terminate() == 0

        new = await bridges.start(CDC_BRIDGE_DATABASE_URL=old_database.bridge_url)
        book(old_database, "NEW")
        await receiver.wait_for_accepted(4)
        await operation.finish(old_database.url, say=lambda _: None)
        book(old_database, "FINISHED")
        calls = await receiver.wait_for_accepted(5)
        assert await new.terminate() == 0
        names = ["BEFORE", "BETWEEN", "BETWEEN-AFTER-A-START", "NEW", "FINISHED"]
        assert [call.reservation_id for call in calls] == names

        await old.start()
        assert await old.wait() == 1
        assert "schema version 2 is newer than the 1 this daemon knows" in old.text
    finally:
        await old.close()


async def test_new_daemon_refuses_the_old_schema_and_says_what_to_run(old_database: Database, bridges: Bridges) -> None:
    url = {"CDC_BRIDGE_DATABASE_URL": old_database.bridge_url}
    code, _, errors = await run_command("run", **bridges.settings | url)
    assert code == 1
    assert "schema version 1 is older than the 2 needed" in errors
    assert "cdc-bridge install" in errors


async def test_check_says_that_an_upgrade_is_not_finished(old_database: Database, bridges: Bridges) -> None:
    await operation.install(old_database.url, None, say=lambda _: None)
    code, output, _ = await run_command(
        "check", **bridges.settings | {"CDC_BRIDGE_DATABASE_URL": old_database.bridge_url}
    )
    assert code == 0
    assert "! installation" in output
    assert "--finish" in output


def refused(database: Database, programs: Path, file: str) -> str:
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        run_psql(database, programs, "--file", file)
    return str(refusal.value.stderr)


def test_parts_out_of_turn_are_refused_and_change_nothing(
    old_database: Database, database: Database, programs: Path
) -> None:
    before = schema_of(old_database, programs)
    assert "0002-before.sql, then this again" in refused(old_database, programs, INSTALL)
    assert "not prepared for version 2" in refused(old_database, programs, AFTER)
    assert schema_of(old_database, programs) == before
    assert "this is for version 1" in refused(database, programs, BEFORE)


def test_downgrade_is_refused(database: Database, version_1: Path, programs: Path) -> None:
    before = schema_of(database, programs)
    words = refused(database, programs, str(version_1 / "sql" / "install.sql"))
    assert "version 2 of the cdc-bridge schema, newer than version 1 which this text installs" in words
    assert "Install with the cdc-bridge release that made it, or a newer one" in words
    assert schema_of(database, programs) == before


async def test_finish_without_what_it_finishes_is_refused(example_database: Database, old_database: Database) -> None:
    code, _, errors = await run_command("install", "--finish", CDC_BRIDGE_DATABASE_URL=old_database.url)
    assert code == 1
    assert "version 1, and not prepared for version 2" in errors
    example_database.execute("drop schema cdc_bridge cascade")
    code, _, errors = await run_command("install", "--finish", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert code == 1
    assert "not installed" in errors


def test_every_file_is_of_the_same_version() -> None:
    preconditions = (sql_folder() / "preconditions.sql").read_text()
    assert re.findall(r"installed > (\d+)", preconditions) == [str(SCHEMA_VERSION)]
    assert re.findall(r"installed = (\d+) and not prepared", preconditions) == [str(SCHEMA_VERSION - 1)]
    table = (sql_folder() / "tables" / "schema_version.sql").read_text()
    assert re.findall(r"select (\d+) where not exists", table) == [str(SCHEMA_VERSION)]
    files = sorted(file.name for file in (sql_folder() / "migrations").iterdir())
    assert files == sorted(
        f"{version:04}-{part}.sql" for version in range(2, SCHEMA_VERSION + 1) for part in ("before", "after")
    )
