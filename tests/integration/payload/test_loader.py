"""Loading reservations: whatever their key's type, their size, and what becomes of e-Res's tables meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import sql

from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loaded import ROOM_BYTES, SMALL_BYTES, Loaded
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.sessions import LoadingConnection
from tests.support.databases import Database
from tests.support.payloads import define_payload, map_table, query_of, replace_in_payload
from tests.support.plans import explained
from tests.support.waiting import until

R = ReservationId("R")


def book(database: Database, *ids: str, **columns: Any) -> None:
    """Insert reservations of one customer."""
    database.execute("insert into customers (id) values ('C') on conflict do nothing")
    names = ["id", "cust_id", "reference", *columns]
    statement = sql.SQL("insert into reservations ({}) values ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join(sql.Placeholder() * len(names))
    )
    for number, id_ in enumerate(ids, start=1):
        database.execute(statement.as_string(None), (id_, "C", number, *columns.values()))


def keys(*ids: str) -> list[ReservationId]:
    return [ReservationId(id_) for id_ in ids]


def body_of(loaded: Loaded, reservation_id: str = "R") -> dict[str, Any]:
    """Return a body that was loaded."""
    body: dict[str, Any] = json.loads(loaded.reservations[ReservationId(reservation_id)].body)
    return body


@pytest.mark.parametrize(
    ("key_type", "keys_of_n", "posted_id"),
    [
        ("uuid", "('0f8fad5b-d9cb-469f-a165-' || lpad(n::text, 12, '0'))::uuid", "0F8FAD5BD9CB469FA165000000004711"),
        ("integer", "n", "4711"),
        ("bigint", "n", "4711"),
        ("numeric(20)", "n", "4711"),
        ("varchar(32)", "'R' || n", "R4711"),
        ("char(8)", "'R' || n", "R4711   "),
    ],
)
async def test_captured_key_of_any_type_is_loaded_by_its_index(
    key_type: str, keys_of_n: str, posted_id: str, database: Database
) -> None:
    database.execute(f"create table public.bookings (id {key_type} primary key)")
    map_table(database, "public.bookings")
    database.execute("select cdc_bridge.attach('public.bookings', 'id')")
    database.execute(f"insert into public.bookings select {keys_of_n} from generate_series(1, 20000) n")
    database.execute("analyze public.bookings")
    captured = [id_ for (id_,) in database.execute("select reservation_id from cdc_bridge.change order by seq")]
    wanted = ReservationId(captured[4710])
    async with database.loading_connection(as_superuser=True) as connection:
        loader = ReservationLoader()
        await loader.load(connection, [wanted])
        plans = await explained(connection)
        await connection.execute("set auto_explain.log_nested_statements = on")
        plans.clear()
        loaded = await loader.load(connection, [wanted, ReservationId(captured[0])])
    assert loaded.reservations.keys() == {wanted, captured[0]}
    assert loaded.reservations[wanted].subject == posted_id
    (plan,) = [plan for plan in plans if "bookings" in plan]
    assert "Index" in plan
    assert "Seq Scan" not in plan


async def test_reservation_that_is_not_there_is_in_none_of_the_results(database: Database) -> None:
    book(database, "R")
    async with database.loading_connection() as connection:
        loaded = await ReservationLoader().load(connection, keys("R", "nobody"))
    assert loaded.reservations.keys() == {R}
    assert (loaded.unreadable, loaded.postponed) == ({}, frozenset())


async def test_key_that_no_longer_fits_is_unreadable_and_not_deleted(database: Database) -> None:
    database.execute("create table public.bookings (id integer primary key); insert into public.bookings values (7)")
    map_table(database, "public.bookings")
    async with database.loading_connection() as connection:
        loaded = await ReservationLoader().load(connection, keys("7", "R-of-before", "8"))
    assert loaded.reservations.keys() == {"7"}
    assert loaded.unreadable.keys() == {"R-of-before"}
    assert "R-of-before" not in loaded.unreadable[ReservationId("R-of-before")]


async def test_payload_that_is_not_defined_is_invalid_and_says_what_to_do(database: Database) -> None:
    database.execute("select cdc_bridge.drop_payload('reservation')")
    async with database.loading_connection() as connection:
        with pytest.raises(PayloadInvalid, match="is not defined") as raised:
            await ReservationLoader().load(connection, [R])
    assert "cdc-bridge install" in raised.value.remedy


RETYPED = {
    "a wider text": ("alter table reservations alter column notes type varchar(4000)", "notes", "n"),
    "a wider number": ("alter table reservations alter column adults type bigint", "adults", 2),
    "a number to another one": ("alter table reservations alter column adults type numeric(10, 2)", "adults", 2),
    "a wider key": ("alter table reservations alter column id type varchar(64)", "id", "R"),
}


@pytest.mark.parametrize("name", RETYPED)
async def test_loader_adapts_to_a_column_that_is_retyped_under_it(name: str, database: Database) -> None:
    statement, key, expected = RETYPED[name]
    book(database, "R", adults=2, notes="n")
    loader = ReservationLoader()
    async with database.loading_connection() as connection:
        await loader.load(connection, [R])
        database.execute(statement)
        loaded = await loader.load(connection, [R])
    assert body_of(loaded)[key] == expected


WRITTEN_OTHERWISE = {
    "a number to text": "adults type text using adults || ' people'",
    "a flag to a boolean": "cancelled drop default, alter column cancelled type boolean using cancelled = 'T'",
    "an instant to one without a zone": "datetime type timestamp",
    "a key to one that is padded": "id type char(40)",
    "text to an array": "tables drop default, alter column tables type text[] using array[tables]",
}


@pytest.mark.parametrize("name", WRITTEN_OTHERWISE)
async def test_column_whose_new_type_is_written_otherwise_makes_the_payload_invalid(
    name: str, database: Database
) -> None:
    book(database, "R")
    database.execute("alter table reservations drop constraint if exists reservations_cancelled_check")
    loader = ReservationLoader()
    async with database.loading_connection() as connection:
        await loader.load(connection, [R])
        database.execute(f"alter table reservations alter column {WRITTEN_OTHERWISE[name]}")
        with pytest.raises(PayloadInvalid, match="written otherwise"):
            await loader.load(connection, [R])


BROKEN = {
    "column renamed": (
        "alter table reservations rename notes to remarks",
        "remarks to notes",
        "column r.notes does not exist",
    ),
    "table renamed": ("alter table calls rename to phone_calls", None, 'relation "public.calls" does not exist'),
    "key renamed": ("alter table reservations rename id to number", "number to id", "column r.id does not exist"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_payload_that_no_longer_fits_is_invalid_until_it_fits_again(name: str, database: Database) -> None:
    breaks, back, reason = BROKEN[name]
    mends = "alter table phone_calls rename to calls" if back is None else f"alter table reservations rename {back}"
    book(database, "R")
    loader = ReservationLoader()
    async with database.loading_connection() as connection:
        before = await loader.load(connection, [R])
        database.execute(breaks)
        for load in (
            loader.load(connection, [R]),
            loader.require_valid(connection),
            ReservationLoader().load(connection, [R]),
        ):
            with pytest.raises(PayloadInvalid) as raised:
                await load
            assert reason in raised.value.problem
            assert "install --mapping" in raised.value.remedy
        database.execute(mends)
        await loader.require_valid(connection)
        assert await loader.load(connection, [R]) == before


async def test_key_of_another_kind_makes_the_payload_invalid_with_the_reason(database: Database) -> None:
    database.execute("create table public.bookings (id text primary key); insert into public.bookings values ('7')")
    map_table(database, "public.bookings")
    loader = ReservationLoader()
    async with database.loading_connection() as connection:
        await loader.load(connection, keys("7"))
        database.execute("alter table public.bookings alter column id type integer using id::integer")
        with pytest.raises(PayloadInvalid, match="operator does not exist: integer = text"):
            await loader.load(connection, keys("7"))
        map_table(database, "public.bookings")
        assert (await loader.load(connection, keys("7"))).reservations.keys() == {"7"}


async def test_column_of_a_type_that_cannot_be_written_is_named(database: Database) -> None:
    book(database, "R")
    loader = ReservationLoader()
    async with database.loading_connection() as connection:
        await loader.load(connection, [R])
        database.execute(
            "alter table reservations alter column datetime type timestamp using datetime at time zone 'UTC'"
        )
        with pytest.raises(PayloadInvalid, match=r"datetime \(timestamptz, now timestamp\)"):
            await loader.load(connection, [R])


SHORT = 'select r.id, r.adults, r.children, r.notes, r.reference as "@reference" from public.reservations r'
REDEFINED: dict[str, tuple[str, str, list[tuple[str, Any]]]] = {
    "same types in another order": (
        "r.adults, r.children", "r.children, r.adults", [("id", "R"), ("children", 1), ("adults", 2), ("notes", "n")]
    ),
    "same types under exchanged names": (
        "r.adults, r.children", "r.children as adults, r.adults as children",
        [("id", "R"), ("adults", 1), ("children", 2), ("notes", "n")],
    ),
    "another column": (
        "r.adults, ", "r.adults, 'x' as x, ", [("id", "R"), ("adults", 2), ("x", "x"), ("children", 1), ("notes", "n")]
    ),
    "one column less": ("r.adults, ", "", [("id", "R"), ("children", 1), ("notes", "n")]),
}  # fmt: skip


@pytest.mark.parametrize("name", REDEFINED)
async def test_payload_that_is_redefined_under_a_running_loader_is_read_anew(name: str, database: Database) -> None:
    old, new, expected = REDEFINED[name]
    book(database, "R", adults=2, children=1, notes="n")
    define_payload(database, SHORT)
    loader = ReservationLoader()
    async with database.loading_connection() as connection:
        for _ in range(8):  # PL/pgSQL has planned it for good by then.
            before = await loader.load(connection, [R])
        replace_in_payload(database, old, new)
        after = await loader.load(connection, [R])
    assert list(body_of(before).items()) == [("id", "R"), ("adults", 2), ("children", 1), ("notes", "n")]
    assert list(body_of(after).items()) == expected


async def test_function_that_is_dropped_is_named_in_the_reason(database: Database) -> None:
    database.execute("drop function cdc_bridge.load_reservation(text[], bigint)")
    async with database.loading_connection() as connection:
        with pytest.raises(PayloadInvalid, match=r"function cdc_bridge\.load_reservation"):
            await ReservationLoader().load(connection, [R])


async def test_column_whose_name_begins_with_an_at_sign_is_not_sent(database: Database) -> None:
    book(database, "R", notes="n")
    define_payload(database, SHORT)
    async with database.loading_connection() as connection:
        loaded = await ReservationLoader().load(connection, [R])
    assert set(body_of(loaded)) == {"id", "adults", "children", "notes"}


@pytest.mark.parametrize(
    "cast",
    [
        "r.notes::integer as notes",
        "case when r.notes = '' then 0 else r.notes::integer end as notes",
        "coalesce(r.notes::integer::text, '') as notes",
        "(select n::text from generate_series(1, r.notes::integer) n where n = 1) as notes",
    ],
)
async def test_reservation_that_a_cast_fails_for_is_unreadable_alone_and_its_value_is_not_named(
    cast: str, database: Database
) -> None:
    """However few rows there are, and however the cast is written."""
    book(database, *(f"R{number}" for number in range(20)), notes="7")
    book(database, "BAD", notes="a secret")
    replace_in_payload(database, "  r.notes,\n", f"  {cast},\n")
    wanted = keys("BAD", *(f"R{number}" for number in range(20)))
    async with database.loading_connection() as connection:
        loaded = await ReservationLoader().load(connection, wanted)
    assert loaded.reservations.keys() == set(wanted) - {"BAD"}
    assert loaded.unreadable.keys() == {"BAD"}
    assert "SQLSTATE 22P02" in loaded.unreadable[ReservationId("BAD")]
    assert "secret" not in loaded.unreadable[ReservationId("BAD")]


async def test_large_bodies_are_loaded_whole(database: Database) -> None:
    large = "x" * (3 * SMALL_BYTES)
    book(database, "R", notes=large)
    book(database, "S")
    async with database.loading_connection() as connection:
        loaded = await ReservationLoader().load(connection, keys("R", "S"))
    assert body_of(loaded)["notes"] == large
    assert loaded.reservations.keys() == {"R", "S"}


@pytest.mark.parametrize(
    "notes", ["x" * 200_000, "\u20ac" * 70_000, "\x01" * 60_000], ids=["letters", "euro", "escapes"]
)
async def test_body_with_more_bytes_than_the_limit_is_unreadable_with_both_numbers(
    notes: str, database: Database
) -> None:
    book(database, "R", notes=notes)
    book(database, "S")
    async with database.loading_connection() as connection:
        loaded = await ReservationLoader(max_body_bytes=190_000).load(connection, keys("R", "S"))
    assert loaded.reservations.keys() == {"S"}
    assert loaded.unreadable.keys() == {"R"}
    assert "more than max_body_bytes (190,000)" in loaded.unreadable[R]


async def test_body_that_finds_no_room_is_postponed_and_one_is_loaded_whatever_its_size(database: Database) -> None:
    book(database, "A", "B", notes="x" * 200_000)
    book(database, "S")
    async with database.loading_connection() as connection:
        loader = ReservationLoader()
        some = await loader.load(connection, keys("A", "B", "S"), room_bytes=300_000)
        assert some.reservations.keys() == {"A", "S"}
        assert some.postponed == {"B"}
        assert some.unreadable == {}
        none = await loader.load(connection, keys("A", "S"), room_bytes=0)
        assert none.reservations.keys() == {"S"}
        assert none.postponed == {"A"}
        all_ = await loader.load(connection, keys("A", "B"), room_bytes=ROOM_BYTES)
        assert all_.reservations.keys() == {"A", "B"}


@pytest.fixture
def policy(database: Database) -> Iterator[None]:
    database.execute(
        "alter table reservations enable row level security; "
        "create policy mine on reservations using (current_user = 'nobody')"
    )
    yield
    database.execute("alter role cdc_bridge_loader nobypassrls")


@pytest.mark.usefixtures("policy")
async def test_row_level_security_makes_loading_fail_and_is_named_with_the_remedy(database: Database) -> None:
    book(database, "R")
    async with database.loading_connection() as connection:
        with pytest.raises(PayloadInvalid, match='row-level security policy for table "reservations"') as raised:
            await ReservationLoader().load(connection, [R])
    assert raised.value.remedy == "Run as a superuser: alter role cdc_bridge_loader bypassrls;"
    database.execute(raised.value.remedy.partition(": ")[2])
    async with database.loading_connection() as connection:
        assert (await ReservationLoader().load(connection, [R])).reservations.keys() == {R}


async def test_right_that_is_lost_is_named_with_the_remedy(database: Database) -> None:
    book(database, "R")
    database.execute("revoke select on calls from cdc_bridge_loader")
    async with database.loading_connection() as connection:
        with pytest.raises(PayloadInvalid, match="permission denied for table calls") as raised:
            await ReservationLoader().load(connection, [R])
    database.execute(raised.value.remedy.removeprefix("Run as a DBA: "))
    async with database.loading_connection() as connection:
        assert (await ReservationLoader().load(connection, [R])).reservations.keys() == {R}


HOSTILE = """
create table public.ran (as_whom text, as_session text);
create function public.plant() returns text language plpgsql as $$
begin
  perform set_config('search_path', 'public', false);
  perform set_config('role', 'cdc_bridge', false);
  return 'planted';
end $$;
create function public.spy() returns text language plpgsql as $$
begin
  return (select string_agg(secret, ',') from cdc_bridge.endpoint);
end $$;
create function public.write() returns text language plpgsql as $$
begin
  insert into public.ran values (current_user, session_user);
  return 'written';
end $$;
create function public.whoami() returns text language sql as 'select current_user::text';
grant insert on public.ran to public;
"""


async def settings_of(connection: LoadingConnection) -> list[Any]:
    cursor = await connection.execute("select current_setting('search_path'), current_setting('role'), current_user")
    return await cursor.fetchall()


@pytest.mark.parametrize(
    ("function", "outcome"),
    [("whoami", "cdc_bridge_loader"), ("plant", None), ("spy", None), ("write", None)],
)
async def test_code_of_e_res_runs_as_the_loader_and_leaves_nothing_behind(
    function: str, outcome: str | None, database: Database
) -> None:
    """As a function that the mapping calls, whose body e-Res's owner replaced."""
    book(database, "R")
    database.execute(HOSTILE)
    define_payload(database, f"select r.id, public.{function}() as found from public.reservations r")
    async with database.loading_connection() as connection:
        before = await settings_of(connection)
        loaded = await ReservationLoader().load(connection, [R])
        assert await settings_of(connection) == before
    if outcome is None:
        assert loaded.reservations == {}
        assert loaded.unreadable.keys() == {R}
    else:
        assert body_of(loaded)["found"] == outcome
    assert database.execute("select * from public.ran") == []


async def test_query_ends_as_it_was_given(database: Database) -> None:
    """A comment at its end does not hide what follows it in the function."""
    book(database, "R", notes="n")
    define_payload(database, f"{SHORT} -- all of them\n;\n")
    async with database.loading_connection() as connection:
        assert body_of(await ReservationLoader().load(connection, [R]))["notes"] == "n"
    assert query_of(database).endswith("-- all of them\n;\n")


READING = {
    "load": "select count(*) from cdc_bridge.load_reservation('{R}', 100000) l, "
    "jsonb_object_keys(jsonb_strip_nulls(to_jsonb(l)))",
    "measure": "select coalesce(sum(bytes), 0) from cdc_bridge.payload_sizes('reservation', '{R}')",
    "list": "select count(*) * 9 from cdc_bridge.payload_keys('reservation', null, null, null, false, 10, 1000)",
}


@pytest.mark.parametrize("name", READING)
async def test_table_that_is_rewritten_while_a_load_waits_for_it_is_not_empty(name: str, database: Database) -> None:
    """A snapshot that is older than the rewrite finds no row: the functions take theirs after their locks."""
    book(database, "R")
    waiting = "select count(*) from pg_locks where not granted and relation = 'reservations'::regclass"
    async with database.connection() as connection, database.connection(autocommit=False) as upgrade:
        await upgrade.execute("alter table reservations alter column notes type text using notes || ''")
        reading = asyncio.create_task(connection.execute(READING[name].encode()))
        await until(lambda: database.value(waiting) == 1, "it waits")
        await upgrade.commit()
        ((found,),) = await (await reading).fetchall()
    assert found > 2  # More than the key and the revision.
