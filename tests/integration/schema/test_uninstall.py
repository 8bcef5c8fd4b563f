"""Uninstall, in the ways that install is tested in."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from cdc_bridge.errors import InstallationError
from cdc_bridge.schema import install as operation
from cdc_bridge.schema.sql_text import uninstall_text
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.dumps import run_psql, schema_of
from tests.support.standby import Standby


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


BOOKINGS = """
insert into customers (id) values ('C');
insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, 1234) n;
"""
ENDPOINT = """
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds, position,
  cluster
)
select name, false, 'https://till.example', '{}', 1, false, 1, 1, pg_current_snapshot(), system_identifier
from pg_control_system(), unnest(%s::text[]) as name
"""


def rehearsed(database: Database, programs: Path) -> str:
    """Uninstall with psql, roll it back, and return what it warns of."""
    ran = subprocess.run(
        [programs / "psql", "--dbname", database.url, "--no-psqlrc"],
        input=uninstall_text().replace("commit;", "rollback;"), capture_output=True, check=True, text=True,
    )  # fmt: skip
    return ran.stderr


async def test_changes_that_no_endpoint_has_got_yet_are_counted(database: Database, programs: Path) -> None:
    database.execute(ENDPOINT, (["till"],))
    database.execute(BOOKINGS)
    told = r"1,234 changes are not delivered yet to endpoint till, the oldest since 20\d\d-.*; after an uninstall they"
    code, output, _ = await run_command("uninstall", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 2
    assert re.search(told, output)
    assert "pending" not in output
    assert re.search(f"WARNING:  {told}", await asyncio.to_thread(rehearsed, database, programs))
    code, output, _ = await run_command("uninstall", "--yes", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 0
    assert re.search(told, output)


async def test_of_many_endpoints_some_are_named(database: Database) -> None:
    database.execute(ENDPOINT, ([f"till-{number}" for number in range(8)],))
    database.execute(BOOKINGS)
    _, output, _ = await run_command("uninstall", CDC_BRIDGE_DATABASE_URL=database.url)
    assert output.count("1,234 changes are not delivered yet to endpoint till-") == 5
    assert "Of 3 more endpoints changes are not delivered either." in output


async def test_daemon_that_runs_is_named(database: Database, bridges: Bridges) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    _, output, _ = await run_command("uninstall", CDC_BRIDGE_DATABASE_URL=database.url)
    assert re.search(rf"A daemon is running \(\S+:{bridge.pid}\): stop it first\.", output)
    await bridge.terminate()
    _, output, _ = await run_command("uninstall", CDC_BRIDGE_DATABASE_URL=database.url)
    assert "daemon" not in output


async def test_what_is_not_installed_needs_no_confirmation(example_database: Database) -> None:
    code, output, errors = await run_command("uninstall", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert (code, errors) == (0, "")
    assert output == "cdc-bridge is not installed in this database; nothing is deleted.\n"


@pytest.mark.parametrize("confirmed", [(), ("--yes",)])
async def test_what_is_broken_can_be_uninstalled(confirmed: tuple[str, ...], database: Database) -> None:
    database.execute("drop function cdc_bridge.losses_of_uninstall; drop table cdc_bridge.delivery cascade")
    code, _, errors = await run_command("uninstall", *confirmed, CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, database.value("select to_regnamespace('cdc_bridge') is null")) == (
        (0, True) if confirmed else (2, False)
    ), errors


async def test_locked_log_does_not_keep_the_question_waiting(database: Database) -> None:
    async with database.connection(autocommit=False) as other:
        await other.execute("lock table cdc_bridge.change in access exclusive mode")
        code, output, _ = await run_command("uninstall", CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, output) == (2, "")


async def test_failure_names_the_text_of_the_same_command(database: Database) -> None:
    database.execute("create view public.report as select count(*) from cdc_bridge.change")
    code, _, errors = await run_command("uninstall", "--yes", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 1
    assert "To see the SQL: cdc-bridge uninstall --print" in errors


async def test_standby_says_where_to_connect(durable_server: ThrowawayPostgres) -> None:
    with Standby(durable_server) as standby:
        for command in (("uninstall", "--yes"), ("uninstall",), ("install",)):
            code, output, errors = await run_command(*command, CDC_BRIDGE_DATABASE_URL=standby.url)
            assert (code, output) == (1, "")
            assert "this is a standby, which is read-only" in errors
            assert "Connect to the primary." in errors
