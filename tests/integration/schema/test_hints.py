"""Each refusal of the SQL side names statements that can be run as they stand, and that mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from cdc_bridge.schema.sql_text import install_text, uninstall_text
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
    for _ in range(3):
        try:
            dba.execute(install_text().encode())
        except psycopg.Error as error:
            dba.execute("rollback")
            for statement in statements_of(error):
                example_database.execute(statement)
        else:
            break
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
