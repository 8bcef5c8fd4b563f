"""Upgrades: the migrations add up to an installation, and both daemons work between their two parts.

The schema is version 1 and has no migration yet. So the tests make up the next release: a copy of this project whose
version is one higher, whose ``delivery`` table has a column more, and which has the two migration files for it.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cdc_bridge.schema import install as operation
from cdc_bridge.schema.sql_text import sql_folder
from cdc_bridge.schema.version import SCHEMA_VERSION
from tests.support.bridge import Bridge, Bridges, clean_environment, run_command
from tests.support.databases import Database
from tests.support.dumps import run_psql, schema_of
from tests.support.receiver import Receiver

PROJECT = Path(__file__).parents[3]
OLD, NEW = SCHEMA_VERSION, SCHEMA_VERSION + 1
VERSIONS = "select version, next_prepared_at is not null from cdc_bridge.schema_version order by version"

BEGIN = """
begin;
set local search_path = pg_catalog, pg_temp;
set local lock_timeout = '200ms';
set local statement_timeout = '60s';
"""
BEFORE = f"""{BEGIN}
do $version$
declare
  installed constant integer := (select max(version) from cdc_bridge.schema_version);
begin
  if installed <> {OLD} then
    raise exception 'this database has version % of the cdc-bridge schema; this is for version {OLD}', installed
      using errcode = 'object_not_in_prerequisite_state';
  end if;
end
$version$;
set local role cdc_bridge_owner;
alter table cdc_bridge.delivery add column if not exists remark text default '';
update cdc_bridge.schema_version set next_prepared_at = coalesce(next_prepared_at, now()) where version = {OLD};
commit;
"""
AFTER = f"""{BEGIN}
do $version$
begin
  if not exists (
    select from cdc_bridge.schema_version where version = {NEW} or version = {OLD} and next_prepared_at is not null
  ) then
    raise exception 'this database is not prepared for version {NEW} of the cdc-bridge schema'
      using errcode = 'object_not_in_prerequisite_state';
  end if;
end
$version$;
set local role cdc_bridge_owner;
alter table cdc_bridge.delivery alter column remark set not null;
insert into cdc_bridge.schema_version (version) values ({NEW}) on conflict do nothing;
commit;
"""


class Release:
    """A source tree."""

    def __init__(self, project: Path) -> None:
        self.project = project

    def file(self, name: str) -> str:
        return str(self.project / "sql" / name)

    @property
    def install(self) -> str:
        return self.file("install.sql")

    @property
    def before(self) -> str:
        return self.file(f"migrations/{NEW:04}-before.sql")

    @property
    def after(self) -> str:
        return self.file(f"migrations/{NEW:04}-after.sql")

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.project / name
        text = path.read_text()
        assert text.count(old) == 1, (name, old)
        path.write_text(text.replace(old, new))

    async def run(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Run one of its commands; return exit code, standard output and standard error."""
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "cdc_bridge", *arguments],
            cwd=self.project, env=clean_environment(settings), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="session")
def old_release() -> Release:
    return Release(PROJECT)


@pytest.fixture(scope="session")
def new_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    project = tmp_path_factory.mktemp("new-release")
    for folder in ("cdc_bridge", "sql"):
        shutil.copytree(PROJECT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    release = Release(project)
    release.replace("cdc_bridge/schema/version.py", f"SCHEMA_VERSION = {OLD}\n", f"SCHEMA_VERSION = {NEW}\n")
    release.replace("sql/install.sql", f"cdc_bridge.schema_version = {OLD};", f"cdc_bridge.schema_version = {NEW};")
    last_column = "  recorded_at      timestamptz not null default now(),\n"
    release.replace("sql/tables/delivery.sql", last_column, last_column + "  remark text not null default '',\n")
    Path(release.before).write_text(BEFORE)
    Path(release.after).write_text(AFTER)
    return release


@pytest.fixture
def fresh_schema(example_database: Database, new_release: Release, programs: Path) -> str:
    """The schema that an installation of the new release creates."""
    run_psql(example_database, programs, "--file", new_release.install)
    return schema_of(example_database, programs)


def book(database: Database, reservation_id: str) -> None:
    database.execute("insert into customers (id) values ('C') on conflict do nothing")
    database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (reservation_id,))


def test_migrations_add_up_to_an_installation(
    database: Database, new_release: Release, fresh_schema: str, programs: Path
) -> None:
    assert schema_of(database, programs) != fresh_schema
    run_psql(database, programs, "--file", new_release.before, "--file", new_release.install)
    run_psql(database, programs, "--file", new_release.after)
    assert schema_of(database, programs) == fresh_schema
    assert database.execute(VERSIONS) == [(OLD, True), (NEW, False)]


def test_statement_that_a_migration_lacks_is_noticed(
    database: Database, new_release: Release, fresh_schema: str, programs: Path
) -> None:
    run_psql(database, programs, "--file", new_release.before, "--file", new_release.install)
    run_psql(
        database,
        programs,
        script=AFTER.replace("alter column remark set not null", "alter column remark drop not null"),
    )
    assert database.execute(VERSIONS) == [(OLD, True), (NEW, False)]
    assert schema_of(database, programs) != fresh_schema


async def test_commands_do_the_same_and_say_what_comes_next(
    database: Database, new_release: Release, fresh_schema: str, programs: Path
) -> None:
    url = {"CDC_BRIDGE_DATABASE_URL": database.url}
    code, output, errors = await new_release.run("install", **url)
    assert (code, errors) == (0, "")
    assert f"Running migrations/{NEW:04}-before.sql" in output
    assert "daemons of both versions work with it" in output
    assert "cdc-bridge install --finish" in output
    assert database.execute(VERSIONS) == [(OLD, True)]
    code, output, errors = await new_release.run("install", "--finish", **url)
    assert (code, errors) == (0, "")
    assert f"Upgrade finished: schema cdc_bridge in {database.name} is version {NEW}." in output
    assert schema_of(database, programs) == fresh_schema
    code, output, _ = await new_release.run("install", "--finish", **url)
    assert code == 0
    assert "Nothing to finish" in output


async def test_printed_texts_do_the_same_in_psql(
    database: Database, new_release: Release, fresh_schema: str, programs: Path
) -> None:
    for arguments in (["--upgrade-from", str(OLD)], ["--finish"]):
        code, printed, errors = await new_release.run("install", "--print", *arguments)
        assert (code, errors) == (0, "")
        run_psql(database, programs, script=printed)
    assert schema_of(database, programs) == fresh_schema


@pytest.mark.parametrize("repeated_after", [2, 3])
def test_each_part_may_be_repeated(
    repeated_after: int, database: Database, new_release: Release, programs: Path
) -> None:
    parts = [new_release.before, new_release.install, new_release.after][:repeated_after]
    for file in parts:
        run_psql(database, programs, "--file", file)
    before = schema_of(database, programs), database.execute(VERSIONS)
    for file in parts[-2:]:
        run_psql(database, programs, "--file", file)
    assert (schema_of(database, programs), database.execute(VERSIONS)) == before


async def test_old_daemon_works_on_the_new_schema_until_the_upgrade_is_finished(
    database: Database, old_release: Release, new_release: Release, bridges: Bridges, receiver: Receiver
) -> None:
    url = {"CDC_BRIDGE_DATABASE_URL": database.url}
    old = Bridge(bridges.settings, project=old_release.project)
    new = Bridge(bridges.settings, project=new_release.project)
    await old.start()
    try:
        book(database, "BEFORE")
        await receiver.wait_for_delivered(1)
        assert (await new_release.run("install", **url))[0] == 0
        book(database, "BETWEEN")
        await receiver.wait_for_delivered(2)
        assert await old.terminate() == 0

        await old.start()  # Also one that starts between the two parts.
        book(database, "BETWEEN-AFTER-A-START")
        await receiver.wait_for_delivered(3)
        assert await old.terminate() == 0

        await new.start()
        book(database, "NEW")
        await receiver.wait_for_delivered(4)
        assert (await new_release.run("install", "--finish", **url))[0] == 0
        book(database, "FINISHED")
        requests = await receiver.wait_for_delivered(5)
        assert await new.terminate() == 0
        names = ["BEFORE", "BETWEEN", "BETWEEN-AFTER-A-START", "NEW", "FINISHED"]
        assert [request.reservation_id for request in requests] == names

        await old.start()
        assert await old.wait() == 1
        assert f"schema version {NEW} is newer than version {OLD}" in old.text
    finally:
        await old.close()
        await new.close()


async def test_new_daemon_refuses_the_old_schema_and_says_what_to_run(new_release: Release, bridges: Bridges) -> None:
    code, _, errors = await new_release.run("run", **bridges.settings)
    assert code == 1
    assert f"schema version {OLD} is older than version {NEW}" in errors
    assert "cdc-bridge install" in errors


async def test_check_warns_of_an_upgrade_that_is_not_finished(
    database: Database, new_release: Release, bridges: Bridges
) -> None:
    assert (await new_release.run("install", CDC_BRIDGE_DATABASE_URL=database.url))[0] == 0
    code, output, _ = await new_release.run("check", **bridges.settings)
    assert code == 0
    assert "! installation" in output
    assert "--finish" in output


def failure(database: Database, programs: Path, file: str) -> str:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run_psql(database, programs, "--file", file)
    return str(failed.value.stderr)


def test_parts_out_of_order_fail_and_change_nothing(
    database: Database, example_database: Database, new_release: Release, fresh_schema: str, programs: Path
) -> None:
    before = schema_of(database, programs)
    assert f"from {NEW:04}-before.sql on, then repeat this" in failure(database, programs, new_release.install)
    assert f"not prepared for version {NEW}" in failure(database, programs, new_release.after)
    assert schema_of(database, programs) == before
    assert f"this is for version {OLD}" in failure(example_database, programs, new_release.before)
    assert schema_of(example_database, programs) == fresh_schema


def test_downgrade_is_refused(
    example_database: Database, old_release: Release, fresh_schema: str, programs: Path
) -> None:
    words = failure(example_database, programs, old_release.install)
    assert f"version {NEW} of the cdc-bridge schema, newer than version {OLD}, which this installs" in words
    assert "Install with the release of cdc-bridge that created it, or a newer one" in words
    assert schema_of(example_database, programs) == fresh_schema


async def test_finish_without_an_upgrade_fails(
    example_database: Database, database: Database, new_release: Release
) -> None:
    code, _, errors = await new_release.run("install", "--finish", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 1
    assert f"version {OLD} and not prepared for version {NEW}" in errors
    code, _, errors = await new_release.run("install", "--finish", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert code == 1
    assert "not installed" in errors


async def test_version_without_a_migration_has_nothing_to_finish(database: Database) -> None:
    lines: list[str] = []
    await operation.finish(database.url, lines.append)
    assert lines == [f"Nothing to finish: schema cdc_bridge in {database.name} is version {OLD}."]
    code, output, errors = await run_command("install", "--finish", "--print")
    assert (code, output) == (1, "")
    assert "there is no upgrade to finish" in errors


def test_every_file_is_of_the_same_version() -> None:
    install = (sql_folder() / "install.sql").read_text()
    assert re.findall(r"^set local cdc_bridge.schema_version = (\d+);", install, re.MULTILINE) == [str(SCHEMA_VERSION)]
    files = sorted(file.name for file in (sql_folder() / "migrations").glob("*.sql"))
    assert files == sorted(
        f"{version:04}-{part}.sql" for version in range(2, SCHEMA_VERSION + 1) for part in ("before", "after")
    )
