"""Each refusal of the SQL side names statements that can be run as they stand, and that mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cdc_bridge.schema.sql_text import install_text, uninstall_text
from cdc_bridge.vendor.contract import column_forms
from tests.support.bridge import run_command
from tests.support.databases import Database

ODD = """
create schema "Res X";
create table "Res X"."Order" (id uuid primary key default gen_random_uuid(), "Number" int, name text);
"""
CHILD = """
create table lines (line_id int primary key, booking text references reservations (id), "what" text);
"""


@dataclass(frozen=True)
class Refusal:
    """What is run, and how many of the statements in the hint stand in its place."""

    setup: str
    step: str
    replaced: bool = False
    """Whether the first statement of the hint is what to run instead."""


PAYLOAD = """select cdc_bridge.define_payload('till', $q$ select r.id, o.name
  from public.reservations r left join "Res X"."Order" o on o.name = r.id $q$)"""

REFUSALS = {
    "schema that the loader may not use": Refusal(ODD, PAYLOAD),
    "table that the loader may not read": Refusal(f'{ODD} grant usage on schema "Res X" to cdc_bridge_loader', PAYLOAD),
    "payload that others build on": Refusal(
        "select cdc_bridge.define_payload('a', 'select r.id from {reservation} r'); "
        "select cdc_bridge.define_payload('b', 'select r.id from {a} r')",
        "select cdc_bridge.drop_payload('a')",
    ),
    "key that may be null": Refusal(
        'create table "Order" (id int, unique (id))', """select cdc_bridge.attach('"Order"', 'id')"""
    ),
    "key without an index": Refusal(
        'create table "Order" (id int not null)', """select cdc_bridge.attach('"Order"', 'id')"""
    ),
    "key of a partitioned table without an index": Refusal(
        "create table t (id int not null, day date) partition by range (day)", "select cdc_bridge.attach('t', 'id')"
    ),
    "key that does not exist": Refusal(ODD, """select cdc_bridge.attach('"Res X"."Order"', 'number')""", True),
    "key of another type": Refusal(
        """create table t ("Made at" timestamptz primary key, "Key's" int not null unique)""",
        "select cdc_bridge.attach('t', 'Made at')",
        replaced=True,
    ),
    "key that is not unique, beside one that is": Refusal(
        ODD, """select cdc_bridge.attach('"Res X"."Order"', 'Number')""", True
    ),
    "partition": Refusal(
        "create table t (id int primary key) partition by range (id); "
        "create table t1 partition of t for values from (1) to (9)",
        "select cdc_bridge.attach('t1', 'id')",
        replaced=True,
    ),
    "view": Refusal(
        f'{ODD} create view shown as select * from "Res X"."Order"', "select cdc_bridge.attach('shown', 'id')", True
    ),
    "child without its column": Refusal(CHILD, "select cdc_bridge.attach_related('lines')", replaced=True),
    "child by a column that does not exist": Refusal(
        CHILD,
        "select cdc_bridge.attach_related('lines', reservation_key => 'id', condition => 'changed.what = ''x''')",
        replaced=True,
    ),
    "child of two captured tables": Refusal(
        f"{CHILD} create table other (id text primary key); select cdc_bridge.attach('other', 'id')",
        "select cdc_bridge.attach_related('lines', reservation_key => 'booking')",
        replaced=True,
    ),
    "child without a captured table": Refusal(
        f"{CHILD} select cdc_bridge.detach('reservations')",
        "select cdc_bridge.attach_related('lines', reservation_key => 'booking', reservations => 'reservations')",
    ),
    "child that is a partition": Refusal(
        "create table p (n int, booking text, primary key (n)) partition by range (n); "
        "create table p1 partition of p for values from (1) to (9)",
        "select cdc_bridge.attach_related('p1', reservation_key => 'booking')",
        replaced=True,
    ),
    "parent without an index": Refusal(
        "create table meals (id text primary key)",
        "select cdc_bridge.attach_related('meals', key => 'id', via => 'meal_id')",
    ),
    "parent whose reservations the loader may not read": Refusal(
        "revoke select on reservations from cdc_bridge_loader",
        "select cdc_bridge.attach_related('customers', key => 'id', via => 'cust_id')",
    ),
}


def statements_of(error: psycopg.Error) -> list[str]:
    """Return the lines of a hint that are statements."""
    lines = (error.diag.message_hint or "").splitlines()
    found = [line for line in lines if line.endswith(";")]
    assert found, f"no statement: {error} {lines}"
    return found


def refused(connection: psycopg.Connection, step: str) -> list[str]:
    """Run what is refused; return the statements that are to mend it."""
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(step.encode())
    return statements_of(raised.value)


@pytest.mark.parametrize("name", REFUSALS)
def test_statement_of_the_hint_mends_the_refusal(name: str, database: Database) -> None:
    case = REFUSALS[name]
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("create index if not exists on_guest on public.reservations (cust_id)")
        connection.execute(case.setup.encode())
        statements = refused(connection, case.step)
        if case.replaced:
            connection.execute(statements[0].encode())
            return
        for statement in statements:
            connection.execute(statement.encode())
        connection.execute(case.step.encode())


def test_adopt_in_a_transaction_that_has_written_says_how_to_go_on(database: Database) -> None:
    with psycopg.connect(database.url) as connection:
        connection.execute("update reservations set adults = 3; create table written ()")
        statements = refused(connection, "select cdc_bridge.adopt()")
        for statement in statements:
            connection.execute(statement.encode())


DEPENDENT = {
    "view": "create view public.report as select count(*) from cdc_bridge.change",
    "materialized view": 'create materialized view public."Report" as select count(*) from cdc_bridge.change',
    "column": "create table public.audit (id int, what cdc_bridge.change)",
    "default": "create table public.audit (id bigint default nextval('cdc_bridge.change_seq_seq'))",
    "foreign key": "create table public.audit (id bigint references cdc_bridge.endpoint)",
    "function": "create function public.of(cdc_bridge.change) returns int language sql as 'select 1'",
    "publication": "create publication ours for table public.reservations, cdc_bridge.change",
    "table of a role": "create table public.theirs (x int); alter table public.theirs owner to cdc_bridge_owner",
    "function of a role": "create function public.f() returns int language sql as 'select 1'; "
    "alter function public.f() owner to cdc_bridge_loader",
}


@pytest.mark.parametrize("kind", DEPENDENT)
def test_what_stops_an_uninstallation_can_be_removed_as_the_hint_says(kind: str, database: Database) -> None:
    database.execute(DEPENDENT[kind])
    with psycopg.connect(database.url, autocommit=True) as connection:
        statements = refused(connection, uninstall_text())
        connection.execute("rollback")
        for statement in statements:
            connection.execute(statement.encode())
        connection.execute(uninstall_text().encode())
    assert database.value("select to_regnamespace('cdc_bridge') is null")


def test_schema_of_somebody_else_and_roles_with_rights_are_mended_as_the_hints_say(example_database: Database) -> None:
    with psycopg.connect(example_database.url, autocommit=True) as connection:
        connection.execute("create schema cdc_bridge")
        for _ in range(2):
            for statement in refused(connection, install_text()):
                connection.execute("rollback")
                connection.execute(statement.encode())
            if connection.execute("select to_regnamespace('cdc_bridge') is null").fetchall() == [(True,)]:
                break
        connection.execute("alter role cdc_bridge createdb; alter role cdc_bridge_reader login")
        try:
            statements = refused(connection, install_text())
            connection.execute("rollback")
            assert len(statements) == 2
        finally:
            connection.execute("alter role cdc_bridge nocreatedb; alter role cdc_bridge_reader nologin")
        connection.execute("alter role cdc_bridge createdb")
        for statement in statements:
            connection.execute(statement.encode())
        connection.execute(install_text().encode())


@pytest.fixture
def dba(example_database: Database) -> Iterator[psycopg.Connection]:
    """A session of a role that owns e-Res's tables and has no other right."""
    name = f"dba_{example_database.name}"
    role = sql.Identifier(name)
    with psycopg.connect(example_database.url, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login password 'of-a-dba'").format(role))
        for table in ("reservations", "customers", "calls"):
            connection.execute(sql.SQL("alter table {} owner to {}").format(sql.Identifier(table), role))
        connection.execute(sql.SQL("grant usage on schema public to {} with grant option").format(role))
        url = example_database.server.url_for(example_database.name, user=name, password="of-a-dba")
        with psycopg.connect(url, autocommit=True) as session:
            yield session
        connection.execute(uninstall_text().encode())
        connection.execute(sql.SQL("drop owned by {0} cascade; drop role {0}").format(role))


def test_dba_without_rights_gets_them_by_the_statements_of_the_hints(
    dba: psycopg.Connection, example_database: Database
) -> None:
    """All rights that are missing are named at once."""
    for statement in refused(dba, install_text()):
        example_database.execute(statement)
    dba.execute("rollback")
    dba.execute(install_text().encode())
    assert example_database.value("select count(*) from cdc_bridge.captured_table") == 1


def test_dba_who_may_not_create_triggers_is_granted_it_by_the_statement_of_the_hint(
    dba: psycopg.Connection, example_database: Database
) -> None:
    example_database.execute(install_text())
    example_database.execute("create table theirs (id int primary key)")
    example_database.execute(f"grant cdc_bridge_owner, cdc_bridge_capture to dba_{example_database.name}")
    step = "select cdc_bridge.attach('theirs', 'id')"
    for statement in refused(dba, step):
        example_database.execute(statement)
    dba.execute(step.encode())


FOREIGN = """
create schema "Front desk";
create table "Front desk"."Booking" (id uuid primary key, notes text);
create table public.unrelated (x int);
"""
FOREIGN_MAPPING = """
grant usage on schema "Front desk" to cdc_bridge_loader;
grant select on "Front desk"."Booking" to cdc_bridge_loader;
select cdc_bridge.define_payload('reservation', $q$ select r.id, r.notes from "Front desk"."Booking" r $q$);
select cdc_bridge.attach('"Front desk"."Booking"', 'id');
"""


@dataclass(frozen=True)
class Newcomer:
    """A DBA who owns nothing yet, beside the role of the application that owns e-Res's tables."""

    session: psycopg.Connection
    url: str
    name: str
    app: str


@pytest.fixture
def newcomer(empty_database: Database) -> Iterator[Newcomer]:
    name, app = f"newcomer_{empty_database.name}", f"app_{empty_database.name}"
    empty_database.execute(f"create role {name} login password 'of-a-dba'; create role {app}")
    empty_database.execute(FOREIGN)
    empty_database.execute(
        f'alter schema "Front desk" owner to {app}; alter table "Front desk"."Booking" owner to {app}; '
        f"alter table public.unrelated owner to {name}"
    )
    url = empty_database.server.url_for(empty_database.name, user=name, password="of-a-dba")
    with psycopg.connect(url, autocommit=True) as session:
        yield Newcomer(session, url, name, app)
    empty_database.execute(uninstall_text())
    empty_database.execute(
        f"drop owned by {name} cascade; drop owned by {app} cascade; drop role {name}; drop role {app}"
    )


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    (file := tmp_path / "my-mapping.sql").write_text(FOREIGN_MAPPING)
    return file


def statements_in(printed: str) -> list[str]:
    """Return the lines of what a command printed that are statements."""
    found = [line.strip() for line in printed.splitlines() if line.strip().startswith(("grant ", "alter "))]
    assert found, printed
    return found


async def run_twice(command: tuple[str, ...], newcomer: Newcomer, database: Database) -> str:
    """Run a command that lacks rights, grant what it names, and run it again; return its error."""
    code, _, errors = await run_command(*command, CDC_BRIDGE_DATABASE_URL=newcomer.url)
    assert code == 1, errors
    for statement in statements_in(errors):
        database.execute(statement)
    code, _, again = await run_command(*command, CDC_BRIDGE_DATABASE_URL=newcomer.url)
    assert code == 0, again
    return errors


async def test_dba_who_owns_none_of_the_tables_learns_at_once_whose_they_are(
    newcomer: Newcomer, empty_database: Database, mapping: Path
) -> None:
    command = ("install", "--mapping", str(mapping), "--allow-incomplete", ",".join(column_forms()))
    errors = await run_twice(command, newcomer, empty_database)
    assert f'role {newcomer.name} has too few rights to install; it does not own "Front desk"."Booking"' in errors
    assert f"grant {newcomer.app} to {newcomer.name};" in errors
    assert f"grant create on database {empty_database.name} to {newcomer.name};" in errors
    assert "to cdc_bridge with admin option" not in errors


def test_psql_names_the_owners_if_the_role_owns_no_table_at_all(newcomer: Newcomer, empty_database: Database) -> None:
    """It cannot know which tables the mapping is about."""
    empty_database.execute("drop table public.unrelated")
    statements = refused(newcomer.session, install_text())
    newcomer.session.execute("rollback")
    assert f"grant {newcomer.app} to {newcomer.name};" in statements


def test_nobody_is_made_a_superuser(newcomer: Newcomer, empty_database: Database) -> None:
    empty_database.execute('alter table "Front desk"."Booking" owner to postgres')
    newcomer.session.execute("select set_config('cdc_bridge.mapping', %s, false)", (FOREIGN_MAPPING,))
    statements = refused(newcomer.session, install_text())
    newcomer.session.execute("rollback")
    assert not [statement for statement in statements if statement.startswith("grant postgres")]
    assert (
        f'grant usage on schema "Front desk" to {newcomer.name} with grant option; grant select, trigger on '
        f'"Front desk"."Booking" to {newcomer.name} with grant option;' in statements
    )


@pytest.mark.parametrize("command", [("install",), ("uninstall", "--yes"), ("uninstall",)], ids=" ".join)
async def test_second_dba_learns_what_to_be_granted(
    command: tuple[str, ...], newcomer: Newcomer, empty_database: Database
) -> None:
    with psycopg.connect(empty_database.url, autocommit=True) as connection:
        connection.execute(install_text(keep_mapping=True).encode())
        connection.execute(FOREIGN_MAPPING.encode())
    if command == ("uninstall",):
        code, _, errors = await run_command(*command, CDC_BRIDGE_DATABASE_URL=newcomer.url)
        assert code == 1
    else:
        errors = await run_twice(command, newcomer, empty_database)
    assert f"grant cdc_bridge_owner to {newcomer.name};" in errors or (
        "cdc_bridge_owner, " in errors and f"to {newcomer.name} with admin option;" in errors
    )
    assert (f"grant {newcomer.app} to {newcomer.name};" in errors) == (command[0] == "uninstall")


def test_second_dba_who_uninstalls_with_psql_learns_the_same(newcomer: Newcomer, empty_database: Database) -> None:
    with psycopg.connect(empty_database.url, autocommit=True) as connection:
        connection.execute(install_text(keep_mapping=True).encode())
        connection.execute(FOREIGN_MAPPING.encode())
    for statement in refused(newcomer.session, uninstall_text()):
        empty_database.execute(statement)
    newcomer.session.execute("rollback")
    newcomer.session.execute(uninstall_text().encode())
    assert empty_database.value("select to_regnamespace('cdc_bridge') is null")


@pytest.mark.parametrize(
    "step",
    [
        "select cdc_bridge.detach('reservations')",
        "select cdc_bridge.attach('customers', 'id')",
        "select cdc_bridge.attach_related('customers', key => 'id', via => 'cust_id')",
        uninstall_text(),
    ],
)
def test_table_that_is_locked_is_named_with_the_script_that_says_by_whom(step: str, database: Database) -> None:
    database.execute("create index on reservations (cust_id)")
    with psycopg.connect(database.url) as other, psycopg.connect(database.url, autocommit=True) as dba:
        other.execute(
            "update reservations set adults = 3; update customers set title = 'Dr'; select from reservations, customers"
        )
        with pytest.raises(psycopg.errors.LockNotAvailable, match="is locked by another session") as raised:
            dba.execute(step.encode())
        assert raised.value.diag.message_hint == "Run it again. Who blocks: psql -f sql/ops/blocked-by.sql"


def test_daemons_tables_that_are_locked_are_named_as_well(database: Database) -> None:
    with psycopg.connect(database.url) as other, psycopg.connect(database.url, autocommit=True) as dba:
        other.execute("select from cdc_bridge.delivery")
        with pytest.raises(
            psycopg.errors.LockNotAvailable, match="a table of the schema cdc_bridge is locked"
        ) as raised:
            dba.execute(uninstall_text().encode())
        assert "Stop the daemon" in (raised.value.diag.message_hint or "")
