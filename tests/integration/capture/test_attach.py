"""Attaching capture to tables of every kind: what is captured, what is rejected, and what e-Res must never notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.support.databases import Database

LOG = "select reservation_id, operation::text from cdc_bridge.change order by seq"
CAPTURE_FUNCTIONS = "select proname::text from pg_proc where proname like 'capture%' order by 1"
TRIGGERS = """
select t.tgrelid::regclass::text, t.tgname::text, t.xmin::text
from pg_trigger t
where t.tgname like 'cdc_bridge%'
order by 1, 2
"""
PARTITIONED = """
create table public.bookings (id integer, day date, guests integer default 2, primary key (id, day))
  partition by range (day);
create table public.bookings_2025 partition of public.bookings for values from ('2025-01-01') to ('2026-01-01');
create table public.bookings_2026 partition of public.bookings for values from ('2026-01-01') to ('2027-01-01')
  partition by range (day);
create table public.bookings_2026_1 partition of public.bookings_2026 for values from ('2026-01-01') to ('2026-07-01');
create table public.bookings_2026_2 partition of public.bookings_2026 for values from ('2026-07-01') to ('2027-01-01');
"""


def logged(database: Database) -> list[tuple[str, str]]:
    """Return what was captured since the last time."""
    found = database.execute(LOG)
    database.execute("truncate cdc_bridge.change")
    return found


def attached_tables(database: Database) -> set[str]:
    return {table for table, _, _ in database.execute(TRIGGERS)}


@contextmanager
def rejected(database: Database, attach: str, error: type[psycopg.Error]) -> Iterator[dict[str, str]]:
    """Attach and get an error, with everything left as it was; its message is there afterwards."""
    before = database.execute(TRIGGERS), database.execute(CAPTURE_FUNCTIONS)
    said: dict[str, str] = {}
    with pytest.raises(error) as raised:
        database.execute(f"select cdc_bridge.attach({attach})")
    diagnostic = raised.value.diag
    said |= {"problem": diagnostic.message_primary or "", "hint": diagnostic.message_hint or ""}
    yield said
    assert (database.execute(TRIGGERS), database.execute(CAPTURE_FUNCTIONS)) == before


# ---------------------------------------------------------------- columns of any names


@pytest.mark.parametrize("conflict", ["error", "use_column", "use_variable"])
@pytest.mark.parametrize(
    "column",
    [
        "changed_at",
        "tg_op",
        "found",
        "new",
        "old",
        "tg_name",
        "changed_rows",
        "change",
        "operation",
        "reservation_id",
        "changed",
        "named",
        "without",
        "key",
        "tg_relid",
        "tg_argv",
        "capture_by_id",
    ],
)
def test_table_may_have_columns_named_as_what_the_capture_function_uses(
    column: str, conflict: str, database: Database
) -> None:
    database.execute(f'create table public.bookings (id text primary key, "{column}" text)')
    database.execute("select cdc_bridge.attach('public.bookings', 'id')")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"set plpgsql.variable_conflict = {conflict}".encode())
        connection.execute("set plpgsql.extra_errors = 'all'; set plpgsql.extra_warnings = 'all'")
        connection.execute(
            f"""insert into public.bookings values ('A', 'x'); update public.bookings set "{column}" = 'y'""".encode()
        )
    assert logged(database) == [("A", "I"), ("A", "U")]


@pytest.mark.parametrize(
    "key", ["changed_at", "tg_op", "changed_rows", "The Key", 'a"b', "a%s", "$body$", "k" * 52, "changed", "named"]
)
def test_key_may_have_any_name(key: str, database: Database) -> None:
    quoted = '"' + key.replace('"', '""') + '"'
    database.execute(f"create table public.bookings ({quoted} text primary key, guests integer)")
    for _ in range(2):
        database.execute("select cdc_bridge.attach('public.bookings', %s)", (key,))
    database.execute("insert into public.bookings values ('A', 1); update public.bookings set guests = 2")
    assert logged(database) == [("A", "I"), ("A", "U")]


# ---------------------------------------------------------------- what is rejected

FOREIGN_SERVER = "create foreign data wrapper w; create server s foreign data wrapper w"
WITH_A_FOREIGN_PARTITION = """
create table t (id int not null, day date) partition by range (day);
create index on t (id);
create foreign table t1 partition of t for values from ('2026-01-01') to ('2027-01-01') server s
"""
REJECTED = {
    "missing column": (
        "create table t (id text primary key)",
        "'t', 'number'",
        errors.UndefinedColumn,
        'table public.t has no column "number"',
        "By another key:\nselect cdc_bridge.attach('public.t', 'id');",
    ),
    "column that was dropped": (
        "create table t (id text primary key, number int); alter table t drop column number",
        "'t', 'number'",
        errors.UndefinedColumn,
        'has no column "number"',
        "",
    ),
    "system column": (
        "create table t (id text primary key)",
        "'t', 'ctid'",
        errors.UndefinedColumn,
        'has no column "ctid"',
        "",
    ),
    "key that may be null": (
        "create table t (id text primary key, number int unique)",
        "'t', 'number'",
        errors.ObjectNotInPrerequisiteState,
        'column "number" of table public.t is nullable',
        "alter table public.t alter column number set not null",
    ),
    "key that is not unique": (
        "create table t (id text primary key, number int not null)",
        "'t', 'number'",
        errors.ObjectNotInPrerequisiteState,
        "has no unique index of its own",
        (
            "By another key:\nselect cdc_bridge.attach('public.t', 'id');\nBy this key, if it is unique:\n"
            "create unique index concurrently on public.t (number);"
        ),
    ),
    "part of a key": (
        "create table t (house int, id int, primary key (id, house))",
        "'t', 'id'",
        errors.ObjectNotInPrerequisiteState,
        "has no unique index of its own",
        "By this key, if it is unique:\ncreate unique index concurrently on public.t (id);",
    ),
    "key unique among some": (
        "create table t (id int not null, deleted bool); create unique index on t (id) where not deleted",
        "'t', 'id'",
        errors.ObjectNotInPrerequisiteState,
        "no unique index",
        "",
    ),
    "key whose text goes by settings": (
        "create table t (id timestamptz primary key)",
        "'t', 'id'",
        errors.FeatureNotSupported,
        "has type timestamp with time zone",
        "text, varchar, char, uuid",
    ),
    "key of a type of somebody's own": (
        "create type pair as (a int, b int); create table t (id pair primary key)",
        "'t', 'id'",
        errors.FeatureNotSupported,
        "which cannot be a reservation key",
        "",
    ),
    "view": (
        "create view t as select 1 as id",
        "'t', 'id'",
        errors.FeatureNotSupported,
        "is not a table but a view",
        "writes to",
    ),
    "materialized view": (
        "create materialized view t as select 1 as id",
        "'t', 'id'",
        errors.FeatureNotSupported,
        "is not a table but a materialized view",
        "",
    ),
    "foreign table": (
        f"{FOREIGN_SERVER}; create foreign table t (id int) server s",
        "'t', 'id'",
        errors.FeatureNotSupported,
        "is not a table but a foreign table",
        "in the database that holds it",
    ),
    "index": (
        "create table u (id int); create index t on u (id)",
        "'t', 'id'",
        errors.FeatureNotSupported,
        "relation of another kind",
        "",
    ),
    "partition": (
        PARTITIONED,
        "'bookings_2026_1', 'id'",
        errors.FeatureNotSupported,
        "public.bookings_2026_1 is a partition",
        "select cdc_bridge.attach('public.bookings', 'id');",
    ),
    "partitioned table without an index that leads with the key": (
        "create table t (id int not null, day date, primary key (day, id)) partition by range (day)",
        "'t', 'id'",
        errors.ObjectNotInPrerequisiteState,
        'no index of the partitioned table public.t starts with column "id"',
        "create index on public.t (id);",
    ),
    "partitioned table with a foreign partition": (
        f"{FOREIGN_SERVER}; {WITH_A_FOREIGN_PARTITION}",
        "'t', 'id'",
        errors.FeatureNotSupported,
        "has a partition or child that is a foreign table: public.t1",
        "no transition tables",
    ),
    "table that inherits and has no index": (
        "create table t (id int primary key); create table t1 () inherits (t)",
        "'t', 'id'",
        errors.ObjectNotInPrerequisiteState,
        'column "id" of table public.t1',
        "create unique index concurrently on public.t1 (id)",
    ),
    "our own log": (
        "",
        "'cdc_bridge.change', 'seq'",
        errors.FeatureNotSupported,
        "belongs to the schema cdc_bridge",
        "e-Res's reservations table",
    ),
    "system catalogue": (
        "",
        "'pg_catalog.pg_class', 'relname'",
        errors.FeatureNotSupported,
        "belongs to the schema pg_catalog",
        "",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_cannot_be_captured_is_refused_before_anything_is_created(name: str, database: Database) -> None:
    setup, attach, error, problem, hint = REJECTED[name]
    if setup:
        database.execute(setup)
    with rejected(database, attach, error) as said:
        assert problem in said["problem"]
        assert hint in said["hint"]


def test_temporary_table_is_refused(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("create temp table t (id int primary key)")
        with pytest.raises(errors.FeatureNotSupported, match="is temporary"):
            connection.execute("select cdc_bridge.attach('t', 'id')")


def test_hints_about_indexes_mend_what_they_are_given_for(database: Database) -> None:
    database.execute("create table t (id int primary key, number int)")
    for error in (errors.ObjectNotInPrerequisiteState,) * 2:
        with rejected(database, "'t', 'number'", error) as said:
            remedy = said["hint"].splitlines()[-1]
        database.execute(remedy)
    database.execute("select cdc_bridge.attach('t', 'number')")


def test_unlogged_table_and_a_table_that_inherits_from_one_without_a_key_are_captured(database: Database) -> None:
    """A crash empties an unlogged table, and what was captured of it is skipped."""
    database.execute(
        "create table stamped (updated timestamptz default now()); "
        "create unlogged table t (id int primary key) inherits (stamped); select cdc_bridge.attach('t', 'id'); "
    )
    database.execute("insert into t (id) values (1); update stamped set updated = now(); update t set updated = now()")
    assert logged(database) == [("1", "I"), ("1", "U")]


@pytest.mark.parametrize("type_", ["varchar(32)", "char(32)", "numeric(20)", "smallint", "key_type"])
def test_key_of_a_type_with_one_text_form_is_taken(type_: str, database: Database) -> None:
    database.execute("create domain key_type as text check (value <> '')")
    database.execute(f"create table t (id {type_} primary key); select cdc_bridge.attach('t', 'id')")
    database.execute("insert into t values ('7')")
    assert logged(database) == [("7", "I")]


# ---------------------------------------------------------------- partitions

MERGE = """
merge into bookings b using (values (1), (6)) as v (id) on b.id = v.id
when matched then update set guests = 8
when not matched then insert values (v.id, '2026-01-02', 1)
"""


@pytest.fixture
def partitioned(database: Database) -> Database:
    database.execute(PARTITIONED)
    database.execute("select cdc_bridge.attach('public.bookings', 'id')")
    return database


def test_partitions_are_captured_whichever_table_a_statement_names_and_never_twice(partitioned: Database) -> None:
    for statement, expected in (
        ("insert into bookings values (1, '2025-05-01'), (2, '2026-05-01')", [("1", "I"), ("2", "I")]),
        ("insert into bookings_2025 values (3, '2025-05-02')", [("3", "I")]),
        ("insert into bookings_2026 values (4, '2026-08-01')", [("4", "I")]),
        ("insert into bookings_2026_2 values (5, '2026-08-02')", [("5", "I")]),
        ("update bookings_2026_2 set guests = 3 where id = 5", [("5", "U")]),
        ("update bookings set guests = 3 where id = 5", [("5", "U")]),
        ("update bookings_2026 set guests = 4", [("2", "U"), ("4", "U"), ("5", "U")]),
        (
            "insert into bookings values (1, '2025-05-01') on conflict (id, day) do update set guests = 9",
            [("1", "U")],
        ),
        (
            MERGE,
            [("1", "U"), ("6", "I")],
        ),
        ("delete from bookings where id = 6", []),
    ):
        partitioned.execute(statement)
        assert sorted(logged(partitioned)) == expected, statement
    with psycopg.connect(partitioned.url, autocommit=True) as connection:
        for table in ("bookings", "bookings_2025"):
            with connection.cursor().copy(f"copy {table} (id, day) from stdin".encode()) as copy:
                copy.write_row((len(table), "2025-09-09"))
    assert logged(partitioned) == [("8", "I"), ("13", "I")]


@pytest.mark.parametrize("day", ["2026-08-01", "2026-02-01"])
def test_row_that_moves_to_another_partition_is_an_update(day: str, partitioned: Database) -> None:
    partitioned.execute("insert into bookings values (1, '2025-05-01'), (2, '2026-03-01')")
    logged(partitioned)
    partitioned.execute("update bookings set day = %s", (day,))
    assert logged(partitioned) == [("1", "U"), ("2", "U")]
    partitioned.execute("update bookings_2026 set day = date '2026-12-24'")
    assert sorted(logged(partitioned)) == [("1", "U"), ("2", "U")]


def test_partition_that_comes_later_is_captured_once_attach_is_repeated(partitioned: Database) -> None:
    later = "partition of bookings for values from ('2027-01-01') to ('2028-01-01')"
    partitioned.execute(f"create table bookings_2027 {later}")
    partitioned.execute("insert into bookings values (1, '2027-05-01')")
    assert logged(partitioned) == [("1", "I")]
    before = partitioned.execute(TRIGGERS)
    partitioned.execute("select cdc_bridge.attach('public.bookings', 'id')")
    assert [row for row in partitioned.execute(TRIGGERS) if row[0] != "bookings_2027"] == before
    partitioned.execute("insert into bookings_2027 values (2, '2027-05-01')")
    assert logged(partitioned) == [("2", "I")]


def test_table_that_has_triggers_already_can_become_a_partition_and_be_one_no_more(partitioned: Database) -> None:
    partitioned.execute(
        "create table bookings_2027 (id integer, day date not null, guests integer, primary key (id, day))"
    )
    partitioned.execute("create unique index on bookings_2027 (id); select cdc_bridge.attach('bookings_2027', 'id')")
    partitioned.execute("insert into bookings_2027 values (1, '2027-05-01')")
    bounds = "for values from ('2027-01-01') to ('2028-01-01')"
    partitioned.execute(f"alter table bookings attach partition bookings_2027 {bounds}")
    partitioned.execute("select cdc_bridge.attach('public.bookings', 'id')")
    partitioned.execute("update bookings set guests = 3; update bookings_2027 set guests = 4")
    assert logged(partitioned) == [("1", "I"), ("1", "U"), ("1", "U")]
    partitioned.execute("alter table bookings detach partition bookings_2027")
    partitioned.execute("update bookings_2027 set guests = 5")
    assert logged(partitioned) == [("1", "U")]
    partitioned.execute("select cdc_bridge.detach('bookings_2027')")
    assert "bookings_2027" not in attached_tables(partitioned)


def test_detach_takes_capture_off_all_partitions(partitioned: Database) -> None:
    assert len(attached_tables(partitioned)) == 6
    for _ in range(2):
        partitioned.execute("select cdc_bridge.detach('public.bookings')")
        assert attached_tables(partitioned) == {"reservations"}
    partitioned.execute("insert into bookings values (1, '2025-05-01'); update bookings_2025 set guests = 3")
    assert logged(partitioned) == []


def test_tables_that_inherit_are_captured_whichever_a_statement_names(database: Database) -> None:
    database.execute(
        "create table t (id int primary key, guests int);"
        "create table old (closed bool, primary key (id)) inherits (t);"
        "create table older (primary key (id)) inherits (old); select cdc_bridge.attach('t', 'id')"
    )
    database.execute(
        "insert into t values (1, 1); insert into old values (2, 1, true); insert into older values (3, 1, true)"
    )
    assert logged(database) == [("1", "I"), ("2", "I"), ("3", "I")]
    database.execute("update t set guests = 2")
    database.execute("update only t set guests = 3; update older set guests = 3")
    assert logged(database) == [("1", "U"), ("2", "U"), ("3", "U"), ("1", "U"), ("3", "U")]
    with psycopg.connect(database.url, autocommit=True) as other:
        other.execute("create temp table of_another_session (primary key (id)) inherits (t)")
        database.execute("select cdc_bridge.attach('t', 'id')")
        database.execute("select cdc_bridge.detach('t')")
    assert attached_tables(database) == {"reservations"}


# ---------------------------------------------------------------- repeated


def test_attach_with_another_key_replaces_the_triggers_and_drops_the_function_that_nobody_uses(
    partitioned: Database,
) -> None:
    partitioned.execute("alter table bookings add number text not null default '?'; create index on bookings (number)")
    assert partitioned.execute(CAPTURE_FUNCTIONS) == [("capture_by_id",)]
    partitioned.execute("select cdc_bridge.attach('public.bookings', 'number')")
    assert partitioned.execute(CAPTURE_FUNCTIONS) == [("capture_by_id",), ("capture_by_number",)]
    partitioned.execute("insert into bookings values (1, '2025-05-01', 2, 'N1'); update bookings_2025 set guests = 4")
    assert logged(partitioned) == [("N1", "I"), ("N1", "U")]
    partitioned.execute("select cdc_bridge.detach('public.reservations')")
    assert partitioned.execute(CAPTURE_FUNCTIONS) == [("capture_by_number",)]
    partitioned.execute("select cdc_bridge.attach('public.bookings', 'id')")
    assert partitioned.execute(CAPTURE_FUNCTIONS) == [("capture_by_id",)]
    partitioned.execute("update bookings set guests = 5")
    assert logged(partitioned) == [("1", "U")]


def test_two_tables_share_a_function_and_it_stays_while_one_of_them_uses_it(database: Database) -> None:
    database.execute("create schema north; create table north.reservations (id text primary key)")
    database.execute("select cdc_bridge.attach('north.reservations', 'id')")
    assert database.execute(CAPTURE_FUNCTIONS) == [("capture_by_id",)]
    database.execute("insert into north.reservations values ('N1')")
    database.execute("select cdc_bridge.detach('public.reservations')")
    database.execute("insert into north.reservations values ('N2')")
    assert logged(database) == [("N1", "I"), ("N2", "I")]
    assert database.execute(CAPTURE_FUNCTIONS) == [("capture_by_id",)]
    database.execute("select cdc_bridge.detach('north.reservations')")
    assert database.execute(CAPTURE_FUNCTIONS) == []


MEDDLING = {
    "condition": "create or replace trigger cdc_bridge_update after update on reservations "
    "referencing new table as changed_rows for each statement when (false) "
    "execute function cdc_bridge.capture_by_id()",
    "insert for update": "drop trigger cdc_bridge_update on reservations; create trigger cdc_bridge_update "
    "after insert on reservations referencing new table as changed_rows for each statement "
    "execute function cdc_bridge.capture_by_id()",
    "function": "create or replace function cdc_bridge.capture_by_id() returns trigger language plpgsql as "
    "'begin return null; end'",
}


@pytest.mark.parametrize("name", MEDDLING)
def test_attach_mends_what_somebody_changed(name: str, database: Database) -> None:
    database.execute(MEDDLING[name])
    database.execute("select cdc_bridge.attach('public.reservations', 'id')")
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    database.execute("update reservations set adults = 4")
    assert logged(database) == [("R", "I"), ("R", "U")]
    owner = "select proowner::regrole::text from pg_proc where proname = 'capture_by_id'"
    assert database.value(owner) == "cdc_bridge_capture"


def locks_on_tables(connection: psycopg.Connection, tables: str) -> set[tuple[Any, ...]]:
    cursor = connection.execute(
        "select distinct relation::regclass::text, mode from pg_locks "
        f"where pid = pg_backend_pid() and locktype = 'relation' and relation::regclass::text like '{tables}%'".encode()
    )
    return set(cursor.fetchall())


def test_attach_that_changes_nothing_locks_nothing_and_leaves_a_disabled_trigger_off(partitioned: Database) -> None:
    partitioned.execute("alter table bookings_2025 disable trigger cdc_bridge_update")
    before = partitioned.execute(TRIGGERS)
    with psycopg.connect(partitioned.url) as connection:
        connection.execute("select cdc_bridge.attach('public.bookings', 'id')")
        assert locks_on_tables(connection, "bookings") == set()
    assert partitioned.execute(TRIGGERS) == before
    partitioned.execute("insert into bookings_2025 values (1, '2025-05-01'); update bookings_2025 set guests = 3")
    assert logged(partitioned) == [("1", "I")]


def test_attach_locks_out_writers_and_detach_readers_as_their_headers_say(partitioned: Database) -> None:
    partitioned.execute(
        "create table bookings_2027 partition of bookings for values from ('2027-01-01') to ('2028-01-01')"
    )
    with psycopg.connect(partitioned.url) as connection:
        connection.execute("select cdc_bridge.attach('public.bookings', 'id')")
        assert locks_on_tables(connection, "bookings") == {("bookings_2027", "ShareRowExclusiveLock")}
        connection.execute("select cdc_bridge.detach('public.bookings')")
        assert ("bookings", "AccessExclusiveLock") in locks_on_tables(connection, "bookings")
        connection.rollback()
        connection.execute("select cdc_bridge.detach('public.customers')")
        assert locks_on_tables(connection, "customers") == set()


@pytest.mark.parametrize("statement", ["detach('public.reservations')", "attach('public.reservations', 'reference')"])
def test_lock_is_not_waited_for_for_long_whatever_the_sessions_own_timeout(statement: str, database: Database) -> None:
    database.execute("create unique index on reservations (reference)")
    with psycopg.connect(database.url) as writer:
        writer.execute("update reservations set adults = 2")
        with pytest.raises(errors.LockNotAvailable):
            database.execute(f"set lock_timeout = 0; select cdc_bridge.{statement}")
