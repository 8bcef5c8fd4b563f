"""What a role with rights of its own in the database may try against capture."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors, sql

from tests.support.databases import Database

PASSWORD = "of-an-intruder"


@pytest.fixture
def intruder(database: Database) -> Iterator[psycopg.Connection]:
    """A session of a role that may write e-Res's tables and create objects in a schema of its own."""
    name = f"intruder_{database.name}"
    role = sql.Identifier(name)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("insert into customers (id) values ('C')")
        connection.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
        connection.execute(sql.SQL("create role {} login password {}").format(role, sql.Literal(PASSWORD)))
        connection.execute(sql.SQL("create schema hostile authorization {}").format(role))
        connection.execute(
            sql.SQL("grant select, insert, update, delete on reservations, customers, calls to {}").format(role)
        )
        with psycopg.connect(
            database.server.url_for(database.name, user=name, password=PASSWORD), autocommit=True
        ) as intruding:
            yield intruding
        connection.execute(sql.SQL("drop owned by {0} cascade; drop role {0}").format(role))


@pytest.mark.parametrize(
    "statement",
    [
        "select cdc_bridge.attach('public.reservations', 'id')",
        "select cdc_bridge.detach('public.reservations')",
        "insert into cdc_bridge.change (reservation_id, operation, changed_at) values ('X', 'U', now())",
        "delete from cdc_bridge.change",
        "update cdc_bridge.endpoint set position = null",
        "select * from cdc_bridge.payload_definition",
        "select * from cdc_bridge.load_reservation('{R}', 100000) as r (key text, revision text)",
        "select cdc_bridge.payload_keys('reservation', null, null, null, false, 10, 1000)",
        "select cdc_bridge.payload_sizes('reservation', '{R}')",
        "select cdc_bridge.payload_values('reservation', '{status}', '{R}')",
        "select cdc_bridge.payload_types('reservation')",
        "select cdc_bridge.define_payload('mine', 'select id from public.reservations')",
        "select cdc_bridge.drop_payload('reservation')",
        "select cdc_bridge.define_loader('reservation')",
        "set role cdc_bridge_loader",
        "set role cdc_bridge_capture",
        "set session_replication_role = replica",
        "set role cdc_bridge",
    ],
)
def test_statement_is_denied(statement: str, intruder: psycopg.Connection) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        intruder.execute(statement.encode())


def test_capture_function_cannot_be_put_on_a_table_of_ones_own(
    intruder: psycopg.Connection, database: Database
) -> None:
    intruder.execute("create table hostile.bait (id text primary key)")
    with pytest.raises(errors.InsufficientPrivilege):
        intruder.execute(
            "create trigger t after insert on hostile.bait referencing new table as changed_rows "
            "for each statement execute function cdc_bridge.capture_by_id()"
        )
    assert database.execute("select reservation_id from cdc_bridge.change") == [("R",)]


def test_names_and_operators_of_ones_own_do_not_divert_capture(
    intruder: psycopg.Connection, database: Database
) -> None:
    intruder.execute("create table hostile.change (xid xid8, seq bigint, reservation_id text, operation text)")
    intruder.execute("create table hostile.changed_rows (id text)")
    intruder.execute("create temp table change (reservation_id text)")
    intruder.execute("create temp table changed_rows (id text)")
    for name in ("clock_timestamp() returns timestamptz", "pg_try_advisory_lock_shared(int, int) returns bool"):
        intruder.execute(
            f"create function hostile.{name} language plpgsql as "
            "$$ begin raise exception 'diverted, as %', current_user; end $$".encode()
        )
    intruder.execute(
        "create function hostile.same(text, text) returns bool language plpgsql as "
        "$$ begin raise exception 'diverted, as %', current_user; end $$"
    )
    intruder.execute("create operator hostile.= (function = hostile.same, leftarg = text, rightarg = text)")
    intruder.execute("set search_path = hostile, pg_temp, public, pg_catalog")
    intruder.execute("update public.reservations set adults = 4")
    intruder.execute("insert into public.reservations (id, cust_id, reference) values ('R2', 'C', 2)")
    logged = "select reservation_id, operation::text from cdc_bridge.change order by seq"
    assert database.execute(logged) == [("R", "I"), ("R", "U"), ("R2", "I")]
    for table in ("hostile.change", "hostile.changed_rows"):
        assert database.value(f"select count(*) from {table}") == 0


@pytest.mark.parametrize(
    "statement",
    [
        "insert into cdc_bridge.change (reservation_id, operation, changed_at) values ('X', 'U', now())",
        "insert into cdc_bridge.schema_version (version) values (9)",
        "update cdc_bridge.endpoint set position = null",
        "update cdc_bridge.delivery set attempts = 0",
        "truncate cdc_bridge.delivery",
        "create table cdc_bridge.mine (x int)",
        "select cdc_bridge.detach('public.reservations')",
    ],
)
def test_reader_may_write_nothing(statement: str, database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("set role cdc_bridge_reader")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.encode())
