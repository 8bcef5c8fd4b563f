"""Uninstall, in the ways that install is tested in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdc_bridge.errors import InstallationError
from cdc_bridge.schema import install as operation
from cdc_bridge.schema.sql_text import uninstall_text
from tests.support.bridge import run_command
from tests.support.databases import Database
from tests.support.dumps import run_psql, schema_of


async def test_printed_text_uninstalls_in_psql(database: Database, example_database: Database, programs: Path) -> None:
    code, printed, errors = await run_command("uninstall", "--print")
    assert (code, errors) == (0, "")
    assert printed == uninstall_text()
    run_psql(database, programs, script=printed)
    assert schema_of(database, programs) == schema_of(example_database, programs)


async def test_two_at_once_both_succeed_or_fail_cleanly(database: Database) -> None:
    results = await asyncio.gather(
        *(operation.uninstall(database.url, report=lambda _: None) for _ in range(2)), return_exceptions=True
    )
    assert [result for result in results if result is not None and not isinstance(result, InstallationError)] == []
    await operation.uninstall(database.url, report=lambda _: None)
    assert database.value("select to_regnamespace('cdc_bridge') is null")


@pytest.mark.parametrize("command", [("install",), ("uninstall", "--yes"), ("uninstall",)])
async def test_database_that_is_not_there_is_said_without_the_password(command: tuple[str, ...]) -> None:
    url = "postgresql://dba:top-secret-word@127.0.0.1:1/eres"
    code, output, errors = await run_command(*command, CDC_BRIDGE_DATABASE_URL=url)
    assert code == 1
    assert "cannot be reached" in errors
    assert "top-secret-word" not in output + errors
    assert "Traceback" not in errors


async def test_dependent_object_elsewhere_stops_it(database: Database, programs: Path) -> None:
    database.execute("create view public.report as select count(*) from cdc_bridge.change")
    before = schema_of(database, programs)
    with pytest.raises(InstallationError, match=r"depend on it: .*report"):
        await operation.uninstall(database.url, report=lambda _: None)
    assert schema_of(database, programs) == before
    database.execute("drop view public.report")
    await operation.uninstall(database.url, report=lambda _: None)


ROLES = ("cdc_bridge", "cdc_bridge_owner", "cdc_bridge_loader", "cdc_bridge_capture", "cdc_bridge_reader")


@pytest.mark.parametrize("role", ROLES)
async def test_object_elsewhere_owned_by_one_of_our_roles_stops_it(
    role: str, database: Database, programs: Path
) -> None:
    database.execute(f"create table public.somebodys (x int); alter table public.somebodys owner to {role}")
    before = schema_of(database, programs)
    with pytest.raises(InstallationError, match=r"belong to one of its roles: table public.somebodys"):
        await operation.uninstall(database.url, report=lambda _: None)
    assert schema_of(database, programs) == before
    database.execute("alter table public.somebodys owner to postgres")
    await operation.uninstall(database.url, report=lambda _: None)
    assert database.value("select count(*) from public.somebodys") == 0


DEPENDENT = {
    "column": "create table public.audit (id int, what cdc_bridge.change)",
    "default": "create table public.audit (id bigint default nextval('cdc_bridge.change_seq_seq'))",
    "foreign key": "create table public.audit (id bigint references cdc_bridge.endpoint)",
    "function": "create function public.of(cdc_bridge.change) returns int language sql as 'select 1'",
    "publication": "create publication ours for table public.reservations, cdc_bridge.change",
}


@pytest.mark.parametrize("kind", DEPENDENT)
async def test_dependent_object_of_any_kind_stops_it(kind: str, database: Database, programs: Path) -> None:
    database.execute(DEPENDENT[kind])
    before = schema_of(database, programs)
    with pytest.raises(InstallationError, match="depend on it"):
        await operation.uninstall(database.url, report=lambda _: None)
    assert schema_of(database, programs) == before


async def test_rights_in_other_databases_of_the_cluster_stay_and_those_in_this_one_go(
    database: Database, example_database: Database
) -> None:
    await operation.install(example_database.url, None, report=lambda _: None)
    for each in (database, example_database):
        each.execute(
            """
            create function public.spelled(text, out text) language sql as 'select $1';
            create domain public.room as text;
            revoke execute on function public.spelled from public;
            revoke usage on type public.room from public;
            grant execute on function public.spelled to cdc_bridge_loader;
            grant usage on type public.room to cdc_bridge_loader;
            """
        )
    for name in (database.name, example_database.name):
        database.execute(
            f"revoke connect on database {name} from public; grant connect on database {name} to cdc_bridge"
        )
    await operation.uninstall(database.url, report=lambda _: None)
    may_connect = "select has_database_privilege('cdc_bridge', %s, 'connect')"
    assert database.value(may_connect, (example_database.name,))
    assert not database.value(may_connect, (database.name,))
    rights = (
        "select has_table_privilege(r, 'reservations', 'select'), "
        "has_function_privilege(r, 'spelled(text)', 'execute'), "
        "has_type_privilege(r, 'room', 'usage') from (values ('cdc_bridge_loader')) as role (r)"
    )
    assert database.execute(rights) == [(False, False, False)]
    assert example_database.execute(rights) == [(True, True, True)]
