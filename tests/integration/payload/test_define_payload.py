"""``cdc_bridge.define_payload`` and ``drop_payload``: what they reject, and what they make of the rest."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg import errors

from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.subscription import Subscription
from tests.support.databases import Database
from tests.support.payloads import define_payload, query_of

SHORT = "select r.id, r.status, r.notes from public.reservations r"
DEFINED = "select * from cdc_bridge.payload_definition order by name"
FUNCTIONS = """
select p.oid::regprocedure::text, p.xmin::text, p.proowner::regrole::text
from pg_proc p
where p.pronamespace = 'cdc_bridge'::regnamespace
order by 1
"""


async def body_of(database: Database, payload: str, reservation_id: str = "R") -> dict[str, Any] | None:
    """Return a body; ``None``: the payload has no such reservation."""
    async with database.loading_connection() as connection:
        loaded = await ReservationLoader(Subscription(payload)).load(connection, [ReservationId(reservation_id)])
    assert loaded.unreadable == {}
    for reservation in loaded.reservations.values():
        body: dict[str, Any] = json.loads(reservation.body)
        return body
    return None


@pytest.fixture(autouse=True)
def booking(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference, notes) values ('R', 'C', 1, 'a \\1 b')")


def selecting(columns: str) -> str:
    return f"select {columns} from public.reservations r"


TIME_WITHOUT_A_ZONE = (
    'column "made" is of type timestamp without time zone, which cannot be written as JSON: '
    "write x at time zone 'Europe/London' as \"made\""
)
REJECTED: dict[str, tuple[str, str, type[psycopg.Error], str, str]] = {
    "name with an upper-case letter": ("Till", SHORT, errors.InvalidName, '"Till" cannot be the name', "lower-case"),
    "name with a quote": ("till'x", SHORT, errors.InvalidName, "cannot be the name", "lower-case"),
    "empty name": ("", SHORT, errors.InvalidName, "cannot be the name", "lower-case"),
    "name that is too long": ("t" * 41, SHORT, errors.InvalidName, "cannot be the name", "at most 40"),
    "unknown base": (
        "till", "select r.id from {nowhere} r", errors.UndefinedObject, "builds on {nowhere}, which is not defined",
        "Define nowhere first. Defined are: reservation.",
    ),
    "itself": (
        "reservation", "select r.id from {reservation} r", errors.InvalidRecursion, "would build on itself", "",
    ),
    "two columns of one name": (
        "till", selecting("r.id, r.notes, r.status as notes"), errors.DuplicateColumn, '"notes" specified more', "",
    ),
    "no id": ("till", selecting("r.notes"), errors.UndefinedColumn, 'has no column "id"', "without an expression"),
    "id that cannot be a key": (
        "till", selecting("r.created as id"), errors.UndefinedColumn, '"id" that can be a key', "without an expression",
    ),
    "time without a zone": (
        "till", selecting("r.id, r.created::timestamp as made"), errors.FeatureNotSupported, TIME_WITHOUT_A_ZONE,
        "Cast it",
    ),
    "interval": (
        "till", selecting("r.id, now() - r.created as age"), errors.FeatureNotSupported, '"age" is of type interval',
        "to text",
    ),
    "array": ("till", selecting("r.id, array[1] as t"), errors.FeatureNotSupported, '"t" is of type integer[]', ""),
    "enum": (
        "till", selecting("r.id, 'a'::public.mood as mood"), errors.FeatureNotSupported, '"mood" is of type', "",
    ),
    "type of somebody else named as one of PostgreSQL's": (
        "till", selecting("r.id, '(1)'::public.uuid as u"), errors.FeatureNotSupported, '"u" is of type', "",
    ),
    "value that has keys of its own": (
        "till", selecting('r.id, r.notes as extras, r.status as "extras.a"'), errors.InvalidColumnDefinition,
        '"extras" is a value and has keys of its own, as "extras.a"', "",
    ),
    "empty key": (
        "till", selecting('r.id, r.notes as "extras."'), errors.InvalidColumnDefinition, '"extras." has an empty', "",
    ),
    "metadata in an object, which would be sent": (
        "till", selecting('r.id, r.notes as "extras.@notes"'), errors.InvalidColumnDefinition,
        'column "extras.@notes" would be sent: metadata has its @ in front, as in "@extras.notes"', "",
    ),
    "name of ours": (
        "till", selecting("r.id, r.notes as cdc_bridge_key"), errors.InvalidColumnDefinition,
        'column "cdc_bridge_key" has a name that is ours', "",
    ),
    "unknown table": ("till", "select id from public.nowhere", errors.UndefinedTable, "public.nowhere", ""),
    "name without a schema": ("till", "select id from reservations", errors.UndefinedTable, '"reservations"', ""),
    "no query": ("till", "drop table public.calls", errors.SyntaxError, "syntax error", ""),
    "two statements": (
        "till", f"{SHORT}) as p; drop table public.calls cascade; select * from ({SHORT}",
        errors.InsufficientPrivilege, "must be owner of table calls", "",
    ),
    "query that writes": (
        "till", "with w as (update public.reservations set adults = 1 returning id) select id from w",
        errors.FeatureNotSupported, "", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REJECTED)
def test_what_cannot_be_a_payload_is_refused_and_nothing_is_changed(name: str, database: Database) -> None:
    payload, query, error, problem, hint = REJECTED[name]
    database.execute("create type public.mood as enum ('a'); create type public.uuid as (x int)")
    before = (database.execute(DEFINED), database.execute(FUNCTIONS))
    with pytest.raises(error) as raised:
        define_payload(database, query, payload)
    assert problem in (raised.value.diag.message_primary or "")
    assert hint in (raised.value.diag.message_hint or "")
    assert (database.execute(DEFINED), database.execute(FUNCTIONS)) == before
    assert database.value("select to_regclass('public.calls') is not null")
    assert database.value("select adults from public.reservations") == 2


def test_cycle_through_another_payload_is_refused(database: Database) -> None:
    define_payload(database, "select r.id, r.notes from {reservation} r", "short")
    define_payload(database, "select s.id from {short} s", "shorter")
    with pytest.raises(errors.InvalidRecursion, match=r'"reservation" would build on itself through \{shorter\}'):
        define_payload(database, "select s.id from {shorter} s")


def test_missing_rights_are_all_named_with_the_statements_that_grant_them(database: Database) -> None:
    database.execute(
        'create schema "House"; create table "House"."Rooms" (id text, name text); create table public.meals (id text)'
    )
    query = (
        'select r.id, o.name, m.id as meal from public.reservations r left join "House"."Rooms" o on o.id = r.room_id '
        "left join public.meals m on m.id = r.meal_id"
    )
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied for schema House") as raised:
        define_payload(database, query, "till")
    grants = (raised.value.diag.message_hint or "").removeprefix("In the mapping, in front of this:\n")
    assert grants.splitlines() == [
        'grant usage on schema "House" to cdc_bridge_loader;', 'grant select on "House"."Rooms" to cdc_bridge_loader;'
    ]  # fmt: skip
    database.execute('grant usage on schema "House" to cdc_bridge_loader')
    with pytest.raises(errors.InsufficientPrivilege) as raised:
        define_payload(database, query, "till")
    assert '"House"."Rooms", public.meals' in (raised.value.diag.message_primary or "")
    grants = (raised.value.diag.message_hint or "").removeprefix("In the mapping, in front of this:\n")
    assert 'grant usage on schema "House" to cdc_bridge_loader;' in grants
    assert 'grant select on "House"."Rooms" to cdc_bridge_loader;' in grants
    database.execute(grants)
    define_payload(database, query, "till")


@pytest.mark.parametrize(
    "columns",
    ["r.id, r.notes", "r.id, row_to_json(r) as whole", 'r.id, r.adults as "@adults"', "'1'::text as x, r.id"],
)
async def test_what_may_be_a_payload_is_defined(columns: str, database: Database) -> None:
    define_payload(database, selecting(columns), "till")
    assert await body_of(database, "till") is not None


async def test_column_of_a_domain_is_sent_as_the_type_that_it_is_based_on(database: Database) -> None:
    database.execute(
        "create domain public.key as varchar(64) check (value <> ''); create domain public.number as integer; "
        'create table public.bookings (id public.key primary key, covers public.number, "a.b" text); '
        "insert into public.bookings values ('R', 4, 'c'); grant select on public.bookings to cdc_bridge_loader"
    )
    define_payload(database, "select b.* from public.bookings b", "till")
    assert await body_of(database, "till") == {"id": "R", "covers": 4, "a": {"b": "c"}}
    define_payload(database, "select t.* from {till} t where t.covers > 3", "more")
    assert await body_of(database, "more") == {"id": "R", "covers": 4, "a": {"b": "c"}}


async def test_payload_that_builds_on_another_has_a_part_of_it(database: Database) -> None:
    define_payload(
        database, 'select r.id, r.notes, r.adults as "@adults" from {reservation} r where r.adults > 2', "till"
    )
    assert await body_of(database, "till") is None
    database.execute("update reservations set adults = 3")
    assert await body_of(database, "till") == {"id": "R", "notes": "a \\1 b"}
    assert database.value("select builds_on from cdc_bridge.payload_definition where name = 'till'") == ["reservation"]
    assert query_of(database, "till").startswith("select r.id, r.notes")


async def test_payloads_may_be_joined_and_their_text_is_not_interpreted(database: Database) -> None:
    define_payload(
        database, r"select r.id, '\1 {reservation} \\ ''' || r.notes as notes from public.reservations r", "quoted"
    )
    define_payload(
        database,
        "select r.id, q.notes from {reservation} r left join {quoted} q on q.id = r.id, lateral {quoted} z",
        "till",
    )
    assert await body_of(database, "till") == {"id": "R", "notes": "\\1 {reservation} \\\\ 'a \\1 b"}
    assert database.value("select builds_on from cdc_bridge.payload_definition where name = 'till'") == [
        "quoted", "reservation",
    ]  # fmt: skip


async def test_those_that_build_on_a_payload_are_defined_anew_with_it(database: Database) -> None:
    define_payload(database, SHORT, "base")
    define_payload(database, "select b.* from {base} b", "upper")
    define_payload(database, "select u.* from {upper} u", "top")
    define_payload(database, selecting("r.id, r.status as notes, 7 as seats"), "base")
    for payload in ("base", "upper", "top"):
        assert list(await body_of(database, payload) or {}) == ["id", "notes", "seats"]


def test_base_that_a_dependent_no_longer_fits_is_refused_and_nothing_is_changed(database: Database) -> None:
    define_payload(database, SHORT, "base")
    define_payload(database, "select b.id, b.notes from {base} b", "upper")
    before = (database.execute(DEFINED), database.execute(FUNCTIONS))
    with pytest.raises(errors.UndefinedColumn, match=r"b\.notes"):
        define_payload(database, selecting("r.id"), "base")
    assert (database.execute(DEFINED), database.execute(FUNCTIONS)) == before


def test_repeat_changes_nothing(database: Database) -> None:
    define_payload(database, SHORT, "till")
    before = (database.execute(DEFINED), database.execute(FUNCTIONS))
    define_payload(database, SHORT, "till")
    define_payload(database, query_of(database))
    assert (database.execute(DEFINED), database.execute(FUNCTIONS)) == before


def test_repeat_brings_back_a_function_that_was_dropped(database: Database) -> None:
    define_payload(database, SHORT, "till")
    database.execute("drop function cdc_bridge.load_till(text[], bigint)")
    define_payload(database, SHORT, "till")
    assert database.value("select to_regprocedure('cdc_bridge.load_till(text[], bigint)') is not null")


async def test_drop_payload_drops_it_unless_another_builds_on_it(database: Database) -> None:
    define_payload(database, SHORT, "base")
    define_payload(database, "select b.id from {base} b", "upper")
    with pytest.raises(errors.DependentObjectsStillExist, match='"base" is used by upper'):
        database.execute("select cdc_bridge.drop_payload('base')")
    assert await body_of(database, "base") is not None
    database.execute("select cdc_bridge.drop_payload('upper'); select cdc_bridge.drop_payload('base')")
    assert [name for (name,) in database.execute("select name from cdc_bridge.payload_definition")] == ["reservation"]
    assert database.value("select to_regprocedure('cdc_bridge.load_base(text[], bigint)') is null")
    with pytest.raises(errors.UndefinedObject, match='there is no payload "base"'):
        database.execute("select cdc_bridge.drop_payload('base')")


def test_nothing_of_e_res_is_run_or_depended_on_when_a_payload_is_defined(database: Database) -> None:
    """A function that a superuser would run is not: the query is parsed, and neither planned nor run."""
    database.execute(
        "create table public.ran (as_whom text); "
        "create function public.trap() returns text language plpgsql immutable as "
        "$$ begin insert into public.ran values (current_user); return 'x'; end $$; "
        "create function public.trap(text) returns text language sql immutable as 'select public.trap()'"
    )
    define_payload(database, selecting("r.id, public.trap() as a, public.trap('x') as b"), "till")
    assert database.execute("select * from public.ran") == []
    assert database.value("select functions from cdc_bridge.payload_definition where name = 'till'") == [
        "public.trap()", "public.trap(text)",
    ]  # fmt: skip
    assert database.value(
        "select count(*) from pg_depend d "
        "join pg_class c on c.oid = d.refobjid and d.refclassid = 'pg_class'::regclass "
        "where c.relname = 'reservations' and d.classid in ('pg_proc'::regclass, 'pg_rewrite'::regclass)"
    ) == 0  # fmt: skip
    assert database.value("select to_regclass('cdc_bridge.payload_to_define') is null")


LOCKS = """
select relation::regclass::text, mode from pg_locks
where pid = pg_backend_pid() and locktype = 'relation'
  and relation::regclass::text in ('reservations', 'customers', 'calls')
"""


def test_definition_takes_no_lock_that_a_writer_would_notice(database: Database) -> None:
    with psycopg.connect(database.url) as connection:
        connection.execute("select cdc_bridge.define_payload('till', %s)", (SHORT,))
        assert set(connection.execute(LOCKS).fetchall()) == {("reservations", "AccessShareLock")}


def test_braces_in_comments_literals_and_names_are_no_payload(database: Database) -> None:
    query = """
    select r.id, 'x, {reservation}' as "a", '[{"a":1}, {"b":2}]'::jsonb as "b", 'it''s {reservation}' as "{c}"
    -- was from {reservation} r, {other} and
    /* join {reservation} */ from {reservation} as r  -- {reservation}"""
    define_payload(database, query, "short")
    builds_on, columns = database.execute(
        "select builds_on, columns from cdc_bridge.payload_definition where name = 'short'"
    )[0]
    assert (builds_on, columns) == (["reservation"], ["id", "a", "b", "{c}"])
    database.execute("insert into customers (id) values ('D')")
    database.execute("insert into reservations (id, cust_id, reference) values ('B', 'D', 1)")
    ((a, c),) = database.execute("select cdc_bridge_2, cdc_bridge_4 from cdc_bridge.load_short('{B}', 100000)")
    assert (a, c) == ("x, {reservation}", "it's {reservation}")
