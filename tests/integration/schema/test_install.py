"""Install and uninstall, as a DBA runs them."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc_bridge.deliveries.payload_preview import payload_of
from cdc_bridge.errors import InstallationError
from cdc_bridge.schema import install as operation
from cdc_bridge.schema.sql_text import install_text, sql_folder
from cdc_bridge.vendor.contract import column_forms
from tests.support.bridge import run_command
from tests.support.databases import BRIDGE_PASSWORD, Database
from tests.support.dumps import run_psql, schema_of
from tests.support.payloads import define_payload, query_of
from tests.support.server import Server

CATALOGUE_ROWS = """
select 'trigger ' || tgname, xmin::text from pg_trigger where tgname like 'cdc_bridge%'
union all
select 'function ' || p.oid::regprocedure, p.xmin::text from pg_proc p where p.proname like 'capture%'
order by 1
"""
BOOKING = (
    "insert into customers (id) values ('C'); insert into reservations (id, cust_id, reference) values ('R', 'C', 1)"
)


async def test_database_url_is_all_that_install_needs(example_database: Database) -> None:
    code, output, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert (code, errors) == (0, "")
    assert "Capture is attached to public.reservations." in output
    example_database.execute(BOOKING)
    assert example_database.execute("select reservation_id, operation::text from cdc_bridge.change") == [("R", "I")]
    body = (await payload_of(example_database.bridge_url, "R")).body
    assert b'"id":"R"' in body


async def test_printed_text_does_the_same_in_psql(
    example_database: Database, empty_database: Database, programs: Path
) -> None:
    code, printed, _ = await run_command("install", "--print")
    assert code == 0
    run_psql(example_database, programs, script=printed)
    empty_database.execute((sql_folder() / "example" / "schema.sql").read_text())
    await operation.install(empty_database.url, None, report=lambda _: None)
    assert schema_of(example_database, programs) == schema_of(empty_database, programs)


def test_file_does_the_same_in_psql(example_database: Database, database: Database, programs: Path) -> None:
    run_psql(example_database, programs, script=f"\\ir {sql_folder()}/install.sql")
    assert schema_of(example_database, programs) == schema_of(database, programs)


SUMMARY = """\
Schema cdc_bridge, version 1, is installed in {name}.
Capture is attached to public.reservations.
Payload reservation has {keys} keys.
Roles: cdc_bridge for the daemon, cdc_bridge_reader for whoever monitors; without
login cdc_bridge_owner, cdc_bridge_loader and cdc_bridge_capture.
Next:
  1. A password for the daemon's role, in psql: \\password cdc_bridge
  2. The body of a reservation, by its key: cdc-bridge payload ID
  3. The daemon, as role cdc_bridge: cdc-bridge guide operator
"""


def run_plain_psql(
    database: Database, programs: Path, *arguments: str, script: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run psql without any option that keeps it quiet or stops it at an error."""
    return subprocess.run(
        [programs / "psql", "--dbname", database.url, "--no-psqlrc", *arguments],
        input=script, capture_output=True, check=False, text=True,
    )  # fmt: skip


async def test_psql_prints_a_summary_and_nothing_else(
    example_database: Database, empty_database: Database, programs: Path
) -> None:
    keys = len(column_forms())
    _, printed, _ = await run_command("install", "--print")
    ran = run_plain_psql(example_database, programs, script=printed)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == SUMMARY.format(name=example_database.name, keys=keys)
    empty_database.execute((sql_folder() / "example" / "schema.sql").read_text())
    ran = run_plain_psql(
        empty_database, programs, "--file", f"{sql_folder()}/install.sql", "--command", "select 1 as x"
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    summary, _, rest = ran.stdout.strip("\n").partition("\n x \n")
    assert summary + "\n" == SUMMARY.format(name=empty_database.name, keys=keys)
    assert rest.startswith("---")


async def test_command_prints_the_same_summary(example_database: Database) -> None:
    _, output, _ = await run_command("install", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert output.splitlines()[3:] == SUMMARY.splitlines()[3:]


def test_psql_stops_at_the_first_error_and_shows_it(example_database: Database, programs: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.sql"
    mapping.write_text("select nonsense;\nselect more_of_it;\n")
    arguments = ("--set", f"mapping={mapping}", "--file", f"{sql_folder()}/install.sql")
    ran = run_plain_psql(example_database, programs, *arguments)
    assert ran.returncode == 3
    assert f'{mapping}:1: ERROR:  column "nonsense" does not exist' in ran.stderr
    assert "more_of_it" not in ran.stderr
    assert ran.stdout == ""
    assert example_database.value("select to_regnamespace('cdc_bridge') is null")


def test_psql_commands_of_a_mapping_are_not_dropped_in_silence(tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.sql"
    mapping.write_text("\\set house 'North'\n")
    assert "\\set house" in install_text(mapping)
    assert not [line for line in install_text().splitlines() if line.startswith("\\")]


async def test_second_install_changes_nothing(database: Database, programs: Path) -> None:
    before = (database.execute(CATALOGUE_ROWS), schema_of(database, programs))
    assert before[0] != []
    run_psql(database, programs, script=install_text())
    code, output, _ = await run_command("install", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 0
    assert "(as before)" in output
    assert (database.execute(CATALOGUE_ROWS), schema_of(database, programs)) == before


async def test_uninstall_leaves_the_schema_as_it_was(example_database: Database, programs: Path) -> None:
    before = schema_of(example_database, programs)
    await operation.install(example_database.url, None, report=lambda _: None)
    example_database.execute(BOOKING)
    assert schema_of(example_database, programs) != before
    code, output, errors = await run_command("uninstall", "--yes", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert (code, errors) == (0, "")
    assert "is uninstalled from" in output
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
    shipped = (sql_folder() / "mapping.sql").read_text()
    (own := tmp_path / "own.sql").write_text(shipped.replace("  r.notes", "  r.notes || ' (ours)' as notes"))
    code, _, _ = await run_command("install", "--mapping", str(own), CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert code == 0
    with_own = schema_of(example_database, programs)
    assert "(ours)" in with_own
    code, output, _ = await run_command("install", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert code == 0
    assert "installed mapping is kept" in output
    assert schema_of(example_database, programs) == with_own


async def test_mapping_with_unknown_tables_fails_and_changes_nothing(
    empty_database: Database, example_database: Database, programs: Path, tmp_path: Path
) -> None:
    before = schema_of(empty_database, programs)
    code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=empty_database.url)
    assert code == 1
    assert "this database has no public.reservations, public.customers, public.calls, which the shipped" in errors
    assert "Nothing was changed" in errors
    assert "cdc-bridge mapping draft > my-mapping.sql" in errors
    assert "psql -v mapping=my-mapping.sql -f sql/install.sql" in errors
    assert schema_of(empty_database, programs) == before
    shipped = (sql_folder() / "mapping.sql").read_text()
    (wrong := tmp_path / "wrong.sql").write_text(shipped.replace("'id')", "'reference')"))
    code, _, errors = await run_command(
        "install", "--mapping", str(wrong), CDC_BRIDGE_DATABASE_URL=example_database.url
    )
    assert code == 1
    assert "has no unique index of its own" in " ".join(errors.split())
    code, _, errors = await run_command(
        "install", "--mapping", "/nowhere.sql", CDC_BRIDGE_DATABASE_URL=example_database.url
    )
    assert code == 1
    assert "/nowhere.sql cannot be read" in errors


async def test_newer_schema_is_not_downgraded(database: Database) -> None:
    database.execute("insert into cdc_bridge.schema_version (version) values (99)")
    code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 1
    assert "newer than version 1," in errors


async def test_role_without_rights_learns_which_it_needs(example_database: Database) -> None:
    url = example_database.bridge_url
    code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=url)
    assert code == 1
    assert "superuser, or" in errors
    assert BRIDGE_PASSWORD not in errors


@pytest.mark.parametrize("command", [("install",), ("install", "--dry-run"), ("uninstall", "--yes"), ("uninstall",)])
async def test_daemons_role_neither_installs_nor_uninstalls_and_the_setting_that_names_it_is_named(
    command: tuple[str, ...], database: Database
) -> None:
    url = database.bridge_url
    code, output, errors = await run_command(*command, CDC_BRIDGE_DATABASE_URL=url)
    assert (code, output) == (1, "")
    assert f"role cdc_bridge is the daemon's, which must not {command[0]}" in errors
    assert "CDC_BRIDGE_DATABASE_URL names that role. Unset it, or name a DBA's: " in errors
    server = {name: str(value) for name, value in conninfo_to_dict(database.url).items()}
    advised = f"postgresql://postgres@{server['host']}:{server['port']}/{database.name}"
    assert f"--database-url {advised}" in errors
    assert "grant" not in errors
    as_flag = {"PGPASSWORD": BRIDGE_PASSWORD}
    flag = make_conninfo("", **{name: value for name, value in conninfo_to_dict(url).items() if name != "password"})
    _, _, errors = await run_command(*command, "--database-url", flag, **as_flag)
    assert "--database-url names that role. Name a DBA's: " in errors


@pytest.mark.parametrize("file", ["install", "uninstall"])
def test_daemons_role_is_rejected_by_psql_too(file: str, database: Database, programs: Path) -> None:
    ran = subprocess.run(
        [programs / "psql", "--dbname", database.bridge_url, "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file",
         sql_folder() / f"{file}.sql"],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert ran.returncode == 3
    assert f"ERROR:  role cdc_bridge is the daemon's, which must not {file}" in ran.stderr
    assert "HINT:  Connect as a DBA" in ran.stderr
    assert "grant" not in ran.stderr


async def test_printed_text_takes_another_mapping_and_its_error_does_not_print_it(
    example_database: Database, empty_database: Database, programs: Path, tmp_path: Path
) -> None:
    _, printed, _ = await run_command("install", "--print")
    ran = run_plain_psql(empty_database, programs, script=printed)
    assert ran.returncode == 3
    assert "ERROR:  this database has no public.reservations" in ran.stderr
    assert "define_payload" not in ran.stderr
    ran = run_plain_psql(empty_database, programs, "--file", f"{sql_folder()}/install.sql")
    assert "ERROR:  this database has no public.reservations" in ran.stderr
    shipped = (sql_folder() / "mapping.sql").read_text()
    (own := tmp_path / "own.sql").write_text(shipped.replace("  r.notes", "  r.notes || ' (ours)' as notes"))
    ran = run_plain_psql(example_database, programs, "--set", f"mapping={own}", script=printed)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "(ours)" in schema_of(example_database, programs)


async def test_two_installs_at_once_both_succeed_or_fail_cleanly(example_database: Database) -> None:
    results = await asyncio.gather(
        *(operation.install(example_database.url, None, report=lambda _: None) for _ in range(2)),
        return_exceptions=True,
    )
    assert [result for result in results if result is not None and not isinstance(result, InstallationError)] == []
    await operation.install(example_database.url, None, report=lambda _: None)
    assert example_database.value("select count(*) from pg_trigger where tgname like 'cdc_bridge%'") == 2


async def test_writes_go_on_when_no_daemon_ever_comes(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("listen cdc_bridge_change")
        for number in range(200):
            connection.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (f"R{number}",))
        connection.execute("select pg_notify('cdc_bridge_change', 'the end')")
        assert [notification.payload for notification in connection.notifies(timeout=10, stop_after=1)] == ["the end"]
    assert database.value("select count(*) from cdc_bridge.change") == 200


async def test_dry_run_says_what_would_change_and_changes_nothing(example_database: Database, programs: Path) -> None:
    before = schema_of(example_database, programs)
    url = {"CDC_BRIDGE_DATABASE_URL": example_database.url}
    code, output, errors = await run_command("install", "--dry-run", **url)
    assert (code, errors) == (0, "")
    for change in (
        "create schema cdc_bridge",
        "create table cdc_bridge.change",
        "create function cdc_bridge.load_reservation(text[],bigint)",
        "create function cdc_bridge.capture_by_id()",
        "create trigger cdc_bridge_update on public.reservations",
        "create right of cdc_bridge_loader on public.customers: select",
    ):
        assert f"  {change}\n" in output
    assert "Lock on e-Res's tables until commit: public.reservations, ShareRowExclusiveLock\n" in output
    assert "Dry run: everything was rolled back." in output
    assert schema_of(example_database, programs) == before
    await operation.install(example_database.url, None, report=lambda _: None)
    code, output, _ = await run_command("install", "--dry-run", **url)
    assert code == 0
    assert "No changes to " in output
    assert "Lock on" not in output
    example_database.execute("drop function cdc_bridge.adopt; drop trigger cdc_bridge_update on reservations")
    code, output, _ = await run_command("install", "--dry-run", **url)
    assert "create function cdc_bridge.adopt()" in output
    assert "create trigger cdc_bridge_update on public.reservations" in output
    assert "Lock on e-Res's tables until commit: public.reservations, ShareRowExclusiveLock\n" in output
    assert example_database.value("select count(*) from pg_trigger where tgname = 'cdc_bridge_update'") == 0


async def test_dry_run_of_what_would_fail_fails(empty_database: Database) -> None:
    code, _, errors = await run_command("install", "--dry-run", CDC_BRIDGE_DATABASE_URL=empty_database.url)
    assert code == 1
    assert "this database has no public.reservations" in errors


@pytest.mark.parametrize(
    "arguments", [("--finish", "--dry-run"), ("--upgrade-from", "1"), ("--print", "--upgrade-from", "0")]
)
async def test_conflicting_options_are_wrong_usage(arguments: tuple[str, ...]) -> None:
    code, _, errors = await run_command("install", *arguments)
    assert code == 2
    assert "--upgrade-from" in errors or "--finish" in errors


def test_mapping_is_kept_by_psql_unless_another_is_named(
    example_database: Database, programs: Path, tmp_path: Path
) -> None:
    shipped = (sql_folder() / "mapping.sql").read_text()
    (own := tmp_path / "own mapping.sql").write_text(shipped.replace("  r.notes", "  r.notes || ' (ours)' as notes"))
    install = ["--file", str(sql_folder() / "install.sql")]
    run_psql(example_database, programs, "--set", f"mapping={own}", *install)
    with_own = schema_of(example_database, programs)
    assert "(ours)" in with_own
    run_psql(example_database, programs, *install)
    assert schema_of(example_database, programs) == with_own
    shipped_file = str(sql_folder() / "mapping.sql")
    run_psql(example_database, programs, "--set", f"mapping={shipped_file}", *install)
    assert "(ours)" not in schema_of(example_database, programs)


async def test_schema_of_another_owner_is_rejected(example_database: Database, programs: Path) -> None:
    example_database.execute("create schema cdc_bridge; create table cdc_bridge.change (xid xid8)")
    before = schema_of(example_database, programs)
    code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert code == 1
    assert "schema cdc_bridge already exists and belongs to role postgres" in errors
    assert "drop schema cdc_bridge cascade" in errors
    assert schema_of(example_database, programs) == before


@pytest.mark.parametrize(
    ("attribute", "back"), [("superuser", "nosuperuser"), ("login", "nologin"), ("bypassrls", "nobypassrls")]
)
async def test_role_with_more_rights_than_needed_is_refused(
    attribute: str, back: str, example_database: Database
) -> None:
    example_database.execute(f"alter role cdc_bridge_owner {attribute}")
    try:
        code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=example_database.url)
        assert code == 1
        assert "role cdc_bridge_owner already exists and has more rights than cdc-bridge needs" in errors
        assert back in errors
    finally:
        example_database.execute(f"alter role cdc_bridge_owner {back}")


async def test_default_privileges_of_the_dba_give_nobody_a_right(example_database: Database) -> None:
    role = f"reporting_{example_database.name}"
    example_database.execute(
        f"create role {role}; alter default privileges grant all on tables to {role}; "
        f"alter default privileges grant all on functions to {role}; "
        f"alter default privileges grant all on schemas to {role}"
    )
    try:
        await operation.install(example_database.url, None, report=lambda _: None)
        rights = example_database.execute(
            "select c.relname from pg_class c cross join aclexplode(c.relacl) a where a.grantee = %s::regrole "
            "and c.relnamespace = 'cdc_bridge'::regnamespace union all "
            "select p.proname from pg_proc p cross join aclexplode(p.proacl) a where a.grantee = %s::regrole",
            (role, role),
        )
        assert {name for (name,) in rights} == set()
    finally:
        example_database.execute(f"drop owned by {role}; drop role {role}")


async def test_dba_who_is_not_a_superuser_installs_and_uninstalls(
    server: Server, example_database: Database, programs: Path
) -> None:
    """As on a managed PostgreSQL: a role with CREATEROLE that owns the database and e-Res's tables."""
    dba = f"dba_{example_database.name}"
    owned = "; ".join(f"alter table {table} owner to {dba}" for table in ("reservations", "customers", "calls"))
    example_database.execute(
        f"create role {dba} login createrole password 'of-a-dba'; "
        f"alter database {example_database.name} owner to {dba}; alter schema public owner to {dba}; {owned}"
    )
    roles = ("cdc_bridge_owner", "cdc_bridge_loader", "cdc_bridge_capture", "cdc_bridge", "cdc_bridge_reader")
    try:
        # The roles are the cluster's, and were made by a superuser: who did not make them has to be given them.
        for role in roles:
            example_database.execute(f"grant {role} to {dba} with admin option")
        url = server.url_for(example_database.name, user=dba, password="of-a-dba")
        before = schema_of(example_database, programs)
        code, output, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=url)
        assert (code, errors) == (0, ""), output
        example_database.execute(BOOKING)
        assert example_database.value("select count(*) from cdc_bridge.change") == 1
        for statement in ("disable_capture()", "enable_capture()", "detach('reservations')"):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"select cdc_bridge.{statement}".encode())
        code, output, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=url)
        assert (code, errors) == (0, ""), output
        code, output, errors = await run_command("uninstall", "--yes", CDC_BRIDGE_DATABASE_URL=url)
        assert (code, errors) == (0, ""), output
        assert schema_of(example_database, programs) == before
    finally:
        example_database.execute(
            f"reassign owned by {dba} to postgres; alter database {example_database.name} owner to postgres; "
            f"drop owned by {dba}; drop role {dba}"
        )


async def test_mapping_with_transaction_control_is_refused_and_nothing_changed(
    example_database: Database, tmp_path: Path
) -> None:
    shipped = (sql_folder() / "mapping.sql").read_text()
    (own := tmp_path / "own.sql").write_text(shipped + "\nCOMMIT WORK;\nbegin;\n")
    for arguments in (["--dry-run"], []):
        code, _, errors = await run_command(
            "install", "--mapping", str(own), *arguments, CDC_BRIDGE_DATABASE_URL=example_database.url
        )
        assert code == 1
        assert "COMMIT WORK;" in errors
    assert not example_database.value("select to_regnamespace('cdc_bridge') is not null")


async def test_shipped_mapping_does_not_replace_one_that_was_dropped(database: Database, programs: Path) -> None:
    database.execute("select cdc_bridge.drop_payload('reservation')")
    run_psql(database, programs, "--file", str(sql_folder() / "install.sql"))
    assert database.value("select count(*) from cdc_bridge.payload_definition") == 0
    code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 1
    assert "--mapping FILE" in errors
    shipped = str(sql_folder() / "mapping.sql")
    code, _, errors = await run_command("install", "--mapping", shipped, CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, errors) == (0, "")


async def test_traps_in_public_are_not_run_by_a_superuser_who_installs(example_database: Database) -> None:
    """Operators that fit better than PostgreSQL's own, made by a role that may create in the schema public."""
    example_database.execute("create table public.ran (by_whom text)")
    for left, right in (("oid", "regclass"), ("oid", "regnamespace"), ("oid", "regprocedure"), ("name", "text")):
        example_database.execute(
            f"create function public.trap({left}, {right}) returns boolean language plpgsql as $$ begin "
            "insert into public.ran values (current_user); return $1::text operator(pg_catalog.=) $2::text; end $$; "
            f"create operator public.= (leftarg = {left}, rightarg = {right}, function = public.trap)"
        )
    await operation.dry_run(example_database.url, None, report=lambda _: None)
    for _ in range(2):
        await operation.install(example_database.url, None, report=lambda _: None)
    example_database.execute("select cdc_bridge.disable_capture(); select cdc_bridge.enable_capture()")
    await operation.uninstall(example_database.url, report=lambda _: None)
    assert example_database.execute("select * from public.ran") == []


def test_printed_installation_keeps_another_mapping_and_capture_that_is_disabled(database: Database) -> None:
    define_payload(database, "select r.id, r.status from public.reservations r")
    database.execute("select cdc_bridge.disable_capture()")
    database.execute(install_text())
    assert query_of(database) == "select r.id, r.status from public.reservations r"
    assert "switched off" in database.value("select cdc_bridge.problem_of_capture()")
