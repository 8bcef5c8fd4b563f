"""What e-Res does to a table with capture: none of its statements fails, and keys are captured while there are any."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.databases import Database

LOG = "select reservation_id, operation::text from cdc_bridge.change order by seq"


@pytest.fixture(autouse=True)
def bookings(database: Database) -> None:
    database.execute("create table public.bookings (note text, id text primary key, guests integer default 2)")
    database.execute("select cdc_bridge.attach('public.bookings', 'id')")


def logged(database: Database) -> list[tuple[Any, ...]]:
    """Return what was captured since the last time."""
    found = database.execute(LOG)
    database.execute("truncate cdc_bridge.change")
    return found


@pytest.mark.parametrize("key", ["id", "changed", "changed_rows", "tg_op", "The Key"])
@pytest.mark.parametrize("same_session", [False, True])
def test_key_that_is_renamed_is_captured_under_its_new_name(
    key: str, database: Database, *, same_session: bool
) -> None:
    """Also in a session that has captured before, and whose plan names the former column."""
    if key != "id":
        database.execute(f'alter table bookings rename id to "{key}"')
        database.execute("select cdc_bridge.attach('public.bookings', %s)", (key,))
    with psycopg.connect(database.url, autocommit=True) as before:
        for number in range(8):
            before.execute(f'insert into bookings ("{key}") values (%s)'.encode(), (f"A{number}",))
        database.execute(f'alter table bookings rename "{key}" to number')
        logged(database)
        with psycopg.connect(database.url, autocommit=True) as after:
            e_res = before if same_session else after
            e_res.execute("insert into bookings (number, note) values ('B', 'a secret'), ('C', 'a secret')")
            e_res.execute("update bookings set guests = 3 where number = 'B'")
            e_res.execute("update bookings set guests = 3 where number = 'nobody'")
        assert logged(database) == [("B", "I"), ("C", "I"), ("B", "U")]
        database.execute(f'alter table bookings rename number to "{key}"')
        before.execute(f'update bookings set guests = 4 where "{key}" = %s'.encode(), ("C",))
    assert logged(database) == [("C", "U")]


def test_key_that_is_dropped_makes_no_write_fail(database: Database) -> None:
    database.execute("insert into bookings values ('n', 'A')")
    logged(database)
    database.execute("alter table bookings drop column id")
    database.execute(
        "insert into bookings values ('n', 3); update bookings set guests = 4; update bookings set note = note"
    )
    assert logged(database) == []


@pytest.mark.parametrize(
    ("type_", "using", "captured"),
    [
        ("integer", "id::integer", "7"),
        ("varchar(9)", "id", "7"),
        ("numeric", "id::numeric", "7"),
        ("text[]", "array[id]", "{7}"),
    ],
)
def test_key_that_is_retyped_is_captured_as_its_text(type_: str, using: str, captured: str, database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as e_res:
        e_res.execute("insert into bookings (id) values ('7')")
        database.execute(f"alter table bookings alter column id type {type_} using {using}")
        e_res.execute("update bookings set guests = 3")
    assert logged(database) == [("7", "I"), (captured, "U")]


def test_row_with_a_null_key_is_left_out_and_the_others_of_the_statement_are_captured(database: Database) -> None:
    database.execute("alter table bookings drop constraint bookings_pkey; alter table bookings alter id drop not null")
    database.execute("insert into bookings (id) values ('A'), (null), ('B')")
    database.execute("insert into bookings (id) values (null)")
    assert logged(database) == [("A", "I"), ("B", "I")]
    database.execute("alter table bookings rename id to number")
    database.execute(
        "insert into bookings (number) values ('C'), (null); update bookings set guests = 3 where number is null"
    )
    assert logged(database) == [("C", "I")]


def test_other_columns_that_come_and_go_change_nothing(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as e_res:
        e_res.execute("insert into bookings (id) values ('A')")
        for statement in (
            "alter table bookings drop column note",
            "alter table bookings add column phone text default 'x'",
            "alter table bookings rename guests to covers",
            "alter table bookings alter column covers type bigint",
        ):
            database.execute(statement)
            e_res.execute(
                "update bookings set covers = 3" if "covers" in statement else "update bookings set guests = 3"
            )
    assert logged(database) == [("A", "I")] + [("A", "U")] * 4


def test_key_of_a_partition_with_other_column_numbers_is_captured_after_a_rename(database: Database) -> None:
    database.execute(
        "create table visits (note text, id text, day date, primary key (id, day)) partition by range (day); "
        "create table visits_2025 (gone integer, day date not null, id text not null, note text); "
        "alter table visits_2025 drop column gone; "
        "alter table visits attach partition visits_2025 for values from ('2025-01-01') to ('2026-01-01'); "
        "create table visits_2026 partition of visits for values from ('2026-01-01') to ('2027-01-01'); "
        "select cdc_bridge.attach('public.visits', 'id')"
    )
    numbers = dict(
        database.execute(
            "select tgrelid::regclass::text, encode(tgargs, 'escape') from pg_trigger "
            "where tgname = 'cdc_bridge_insert' and tgrelid::regclass::text like 'visits%'"
        )
    )
    assert numbers == {"visits": "2\\000", "visits_2025": "3\\000", "visits_2026": "2\\000"}
    database.execute("alter table visits rename id to number")
    database.execute(
        "insert into visits_2025 (number, day, note) values ('A', '2025-05-01', 'n'); "
        "insert into visits_2026 (number, day, note) values ('B', '2026-05-01', 'n'); "
        "insert into visits (number, day, note) values ('C', '2025-06-01', 'n'), ('D', '2026-06-01', 'n'); "
        "update visits set note = 'm' where number in ('A', 'D')"
    )
    assert sorted(logged(database)) == [("A", "I"), ("A", "U"), ("B", "I"), ("C", "I"), ("D", "I"), ("D", "U")]


# What the owner of e-Res's table could plant: a composite type whose cast to text is a function of their own.
COMPOSITE = """
create table public.ran (as_whom text);
grant insert on public.ran to public;
create type public.bait as (value text);
create function public.spring(public.bait) returns text language plpgsql as $$
begin
  insert into public.ran values (current_user);
  return 'sprung';
end $$;
create cast (public.bait as text) with function public.spring(public.bait) as implicit;
alter table public.bookings rename id to number;
alter table public.bookings add column id public.bait default row('x');
"""


def test_cast_of_somebody_else_is_not_run_for_a_column_under_the_key_s_name(database: Database) -> None:
    database.execute(COMPOSITE)
    assert database.value("select row('x')::public.bait::text") == "sprung"
    database.execute("truncate public.ran")
    database.execute("insert into bookings (number) values ('A'); update bookings set guests = 3")
    assert database.execute("select as_whom from public.ran") == []
    assert logged(database) == [("(x)", "I"), ("(x)", "U")]


def test_function_that_a_column_s_type_calls_runs_without_a_right_of_ours(database: Database) -> None:
    """A domain's check runs as who writes, in e-Res's statement; in ours, nothing of the type's runs."""
    database.execute(
        "create table public.ran (as_whom text); grant insert on public.ran to public; "
        "create function public.note(text) returns boolean language plpgsql as "
        "$$ begin insert into public.ran values (current_user); return true; end $$; "
        "create domain public.noted as text check (public.note(value)); "
        "create table public.visits (id public.noted primary key); select cdc_bridge.attach('public.visits', 'id'); "
        "insert into public.visits values ('A')"
    )
    assert database.execute("select distinct as_whom from public.ran") == [("postgres",)]
    assert logged(database) == [("A", "I")]


def test_column_with_the_name_of_our_variable_is_not_taken_for_it(database: Database) -> None:
    database.execute("alter table reservations add column cdc_bridge_changed_at timestamptz default 'infinity'")
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    assert database.value("select changed_at < now() + interval '1 minute' from cdc_bridge.change") is True


def test_key_that_was_padded_for_a_while_is_the_same_key(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("alter table reservations alter column id type char(40)")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    database.execute("alter table reservations rename id to number")
    database.execute("update reservations set adults = 3")
    database.execute("alter table reservations rename number to id")
    database.execute("alter table reservations alter column id type text")
    database.execute("update reservations set adults = 4")
    assert database.execute("select distinct reservation_id from cdc_bridge.change") == [("R",)]
