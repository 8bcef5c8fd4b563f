"""What an endpoint gets of the reservations: payloads over others, conditions, and what is filtered."""

from __future__ import annotations

from typing import Any

import pytest

from cdc_bridge.errors import BridgeError, PayloadInvalid
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.keys import ReservationKeys
from cdc_bridge.payload.loaded import ROOM_BYTES, Loaded
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.subscription import Condition, Subscription
from tests.integration.payload.test_loader import body_of, book, keys
from tests.support.databases import Database
from tests.support.payloads import define_payload

TYPED = """
select r.id, r.status, r.adults, r.amount_spend, r.datetime as "at", r.datetime::date as "day",
  r.cancelled = 'T' as "flag", md5(r.id)::uuid as "uuid", r.room_name::varchar(40) as "room",
  r.meal_name::char(9) as "meal",
  nullif(r.notes, '') as "notes", r.room_name as "@hidden", '{}'::jsonb as "document", r.duration::float8 as "hours",
  r.tables as "odd % column", r.created as "@created"
from {reservation} r
"""
ROW = {
    "status": "Confirmed", "adults": 3, "amount_spend": 12.50, "datetime": "2026-07-01 18:00+00", "cancelled": "T",
    "room_name": "100% Bar, upstairs", "meal_name": "Dinner", "duration": 90, "tables": "it's 4",
}  # fmt: skip


def only(**conditions: Any) -> Subscription:
    return Subscription("typed", tuple(Condition(column, values) for column, values in conditions.items()))


async def load(database: Database, subscription: Subscription, *ids: str, room_bytes: int = ROOM_BYTES) -> Loaded:
    async with database.loading_connection() as connection:
        return await ReservationLoader(subscription).load(connection, keys(*ids), room_bytes=room_bytes)


async def all_keys(database: Database, subscription: Subscription) -> list[str]:
    async with database.loading_connection() as connection:
        walk, found = ReservationKeys(None, subscription), list[str]()
        while not walk.at_end:
            found += await walk.next_page(connection, 3)
        assert await walk.count(connection) == len(found)
        return found


@pytest.fixture
def typed(database: Database) -> Database:
    """A payload with a column of every type, and one reservation."""
    book(database, "R", **ROW)
    define_payload(database, TYPED, "typed")
    return database


@pytest.mark.parametrize(
    ("column", "matching", "other"),
    [
        ("status", "Confirmed", "confirmed"),
        ("adults", "3", "4"),
        ("adults", " 3 ", "4"),
        ("amount_spend", "12.5", "12.51"),
        ("at", "2026-07-01T18:00:00.000Z", "2026-07-01T18:00:00.001Z"),
        ("at", "2026-07-01 20:00:00+02", "2026-07-01 18:00:00+02"),
        ("day", "2026-07-01", "2026-07-02"),
        ("flag", "T", "F"),
        ("flag", "true", "false"),
        ("uuid", "E1E1D3D40573127E9EE0480CAF1283D6", "E1E1D3D40573127E9EE0480CAF1283D7"),
        ("uuid", "e1e1d3d4-0573-127e-9ee0-480caf1283d6", "e1e1d3d4-0573-127e-9ee0-480caf1283d7"),
        ("room", "100% Bar, upstairs", "100%"),
        ("meal", "Dinner", "Dinne"),
        ("notes", "", "x"),
        ("@hidden", "100% Bar, upstairs", "Bar"),
        ("hours", "90.0", "90.1"),
        ("odd % column", "it's 4", "it''s 4"),
        ("id", "R", "r"),
    ],
)
async def test_values_are_compared_in_the_type_of_the_column(
    column: str, matching: str, other: str, typed: Database
) -> None:
    wanted, unwanted = (
        only(**{column: ("other" if column == "status" else other, value)}) for value in (matching, other)
    )
    assert (await load(typed, wanted, "R")).reservations.keys() == {"R"}
    assert await all_keys(typed, wanted) == ["R"]
    found = await load(typed, unwanted, "R", "nobody")
    assert (found.reservations, set(found.filtered)) == ({}, {"R"})
    assert await all_keys(typed, unwanted) == []


async def test_all_conditions_have_to_be_met(typed: Database) -> None:
    assert (await load(typed, only(status=("Confirmed",), adults=("1", "3")), "R")).reservations
    assert (await load(typed, only(status=("Confirmed",), adults=("1", "2")), "R")).filtered == {"R"}
    assert (await load(typed, only(status=("x",), adults=("3",)), "R")).filtered == {"R"}


async def test_metadata_is_not_in_the_body(typed: Database) -> None:
    body = body_of(await load(typed, only(**{"@hidden": ("100% Bar, upstairs",)}), "R"))
    assert "hidden" not in str(body)
    assert list(body) == [
        "id", "status", "adults", "amount_spend", "at", "day", "flag", "uuid", "room", "meal", "notes", "document",
        "hours", "odd % column",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("nothing", "x", 'payload "typed" has no column "nothing"'),
        ("adults", "three", 'column "adults" of payload "typed" cannot have such a value'),
        ("at", "yesterday evening", "cannot have such a value"),
        ("at", "Today 18:00", "cannot have such a value: it is another one each day"),
        ("day", "tomorrow", "cannot have such a value: it is another one each day"),
        ("uuid", "x", "cannot have such a value"),
        ("document", "{}", "is of type jsonb, which cannot be compared"),
        ("flag", "x", "cannot have such a value"),
        ("adults", "99999999999", "cannot have such a value"),
    ],
)
async def test_condition_that_does_not_fit_makes_the_payload_invalid(
    column: str, value: str, problem: str, typed: Database
) -> None:
    with pytest.raises(PayloadInvalid, match=r"a condition \(option only\) does not fit: ") as raised:
        await load(typed, only(**{column: (value,)}), "R")
    assert problem in raised.value.problem
    with pytest.raises(PayloadInvalid):
        await all_keys(typed, only(**{column: (value,)}))


async def test_hostile_values_are_values(typed: Database) -> None:
    for value in ("' or true --", "{", '"', "\\", "NULL", "}',1)", "%s", "%(x)s", "a'b\"c,d"):
        found = await load(typed, only(status=(value,)), "R")
        assert (found.reservations, set(found.filtered)) == ({}, {"R"})
        typed.execute("update reservations set status = %s", (value,))
        assert (await load(typed, only(status=(value,)), "R")).reservations.keys() == {"R"}
        assert await all_keys(typed, only(status=(value,))) == ["R"]
        typed.execute("update reservations set status = 'Confirmed'")


async def test_filtered_and_deleted_are_told_apart(database: Database) -> None:
    book(database, "IN", adults=5)
    book(database, "OUT", adults=1)
    define_payload(database, "select r.id, r.adults from {reservation} r where r.adults > 2", "large")
    define_payload(database, 'select l.id, l.adults as "@adults" from {large} l where l.adults < 9', "middle")
    for subscription in (Subscription("large"), Subscription("middle", (Condition("@adults", ("5",)),))):
        found = await load(database, subscription, "IN", "OUT", "GONE")
        assert found.reservations.keys() == {"IN"}
        assert found.filtered == {"OUT"}
        assert (found.unreadable, found.postponed) == ({}, frozenset())


async def test_what_a_payload_on_its_own_does_not_have_is_filtered_as_long_as_changes_are_captured(
    database: Database,
) -> None:
    book(database, "IN", adults=5)
    book(database, "OUT", adults=1)
    define_payload(database, "select r.id, r.adults from public.reservations r where r.adults > 2", "own")
    assert (await load(database, Subscription("own"), "IN", "OUT")).filtered == {"OUT"}
    database.execute("alter table reservations disable trigger cdc_bridge_update")
    found = await load(database, Subscription("own"), "IN", "OUT")
    assert found.filtered == set()
    assert "it is not found, but" in found.unreadable[ReservationId("OUT")]


async def test_row_that_cannot_be_loaded_keeps_only_those_waiting_who_want_it(database: Database) -> None:
    book(database, "GOOD", room_name="Bar", notes="1")
    book(database, "BAD", room_name="Bar", notes="x")
    book(database, "ELSEWHERE", room_name="Terrace", notes="x")
    define_payload(database, "select r.id, r.room_name, r.notes::integer as notes from {reservation} r", "cast")
    subscription = Subscription("cast", (Condition("room_name", ("Bar",)),))
    found = await load(database, subscription, "GOOD", "BAD", "ELSEWHERE", "GONE")
    assert found.reservations.keys() == {"GOOD"}
    assert found.unreadable.keys() == {"BAD"}
    assert found.filtered == {"ELSEWHERE"}


async def test_row_whose_condition_cannot_be_told_does_not_hide_that_another_is_filtered(database: Database) -> None:
    book(database, "UNTOLD", notes="x", status="1")
    book(database, "OTHER", notes="1", status="x")
    define_payload(database, "select r.id, r.notes::integer as n, r.status::integer as s from {reservation} r", "cast")
    found = await load(database, Subscription("cast", (Condition("n", ("5",)),)), "UNTOLD", "OTHER")
    assert (set(found.unreadable), set(found.filtered)) == ({"UNTOLD"}, {"OTHER"})


async def test_reservation_with_several_rows_is_filtered_only_if_none_meets_the_conditions(database: Database) -> None:
    database.execute(
        "create table dishes (reservation_id text, dish text); grant select on dishes to cdc_bridge_loader"
    )
    for id_, dishes in {"ONE": "cake,soup", "TWO": "cake,soup,soup", "NONE": "cake,cake"}.items():
        book(database, id_)
        database.execute("insert into dishes select %s, unnest(string_to_array(%s, ','))", (id_, dishes))
    define_payload(
        database, "select r.id, d.dish from {reservation} r join public.dishes d on d.reservation_id = r.id", "fed"
    )
    found = await load(database, Subscription("fed", (Condition("dish", ("soup",)),)), "ONE", "TWO", "NONE")
    assert found.reservations.keys() == {"ONE"}
    assert "several rows" in found.unreadable[ReservationId("TWO")]
    assert found.filtered == {"NONE"}


async def test_large_reservation_of_others_is_neither_loaded_nor_too_large(database: Database) -> None:
    book(database, "LARGE", room_name="Terrace", notes="n" * 300_000)
    book(database, "R", room_name="Bar")
    for subscription in (Subscription(conditions=(Condition("room_name", ("Bar",)),)),):
        async with database.loading_connection() as connection:
            loader = ReservationLoader(subscription, max_body_bytes=100_000)
            found = await loader.load(connection, keys("LARGE", "R"))
        assert (set(found.reservations), found.unreadable, set(found.filtered)) == ({"R"}, {}, {"LARGE"})
    wanted = Subscription(conditions=(Condition("room_name", ("Terrace",)),))
    assert (await load(database, wanted, "LARGE")).reservations.keys() == {"LARGE"}


async def test_loader_follows_a_payload_that_is_defined_anew(typed: Database) -> None:
    subscription = only(adults=("3",))
    loader = ReservationLoader(subscription)
    async with typed.loading_connection() as connection:
        assert (await loader.load(connection, keys("R"))).reservations
        define_payload(typed, "select r.id, r.adults + 1 as adults from {reservation} r", "typed")
        assert (await loader.load(connection, keys("R"))).filtered == {"R"}
        define_payload(typed, "select r.id, r.status from {reservation} r", "typed")
        with pytest.raises(PayloadInvalid, match='has no column "adults"'):
            await loader.load(connection, keys("R"))
        define_payload(typed, "select r.id, r.status, r.adults::text as adults from {reservation} r", "typed")
        assert (await loader.load(connection, keys("R"))).reservations


async def test_loader_follows_a_column_that_is_retyped(typed: Database) -> None:
    loader = ReservationLoader(only(adults=("3",), status=("Confirmed",)))
    async with typed.loading_connection() as connection:
        assert (await loader.load(connection, keys("R"))).reservations
        typed.execute("alter table reservations alter column adults type bigint, alter column status type varchar(90)")
        assert (await loader.load(connection, keys("R"))).reservations
        typed.execute("update reservations set adults = 4")
        assert (await loader.load(connection, keys("R"))).filtered == {"R"}


@pytest.mark.parametrize(
    ("columns", "created", "expected"),
    [
        ("r.adults", False, ["NEW", "OLD"]),
        ("r.adults", True, ["NEW"]),
        ('r.updated as "@updated"', False, ["NEW", "OLD"]),
        ("r.created", False, ["NEW", "OLD"]),
        ('r.created as "@created"', True, ["NEW"]),
        ("r.updated, r.created", True, ["NEW"]),
    ],
)
async def test_time_of_an_update_is_known_though_it_is_not_in_the_payload(
    columns: str, *, created: bool, expected: list[str], database: Database
) -> None:
    book(database, "NEW", created="2026-06-02", updated="2026-06-02")
    book(database, "OLD", created="2020-01-01", updated="2026-06-02")
    book(database, "OLDEST", created="2020-01-01", updated="2020-01-01")
    define_payload(database, f"select r.id, {columns} from {{reservation}} r", "times")
    since = database.value("select timestamptz '2026-06-01'")
    async with database.loading_connection() as connection:
        walk = ReservationKeys(since, Subscription("times"), created=created)
        assert await walk.next_page(connection, 10) == expected


async def test_time_that_nobody_has_is_an_error(database: Database) -> None:
    define_payload(database, "select r.id, r.adults from public.reservations r", "own")
    since = database.value("select now()")
    async with database.loading_connection() as connection:
        with pytest.raises(BridgeError, match=r'"updated" of the payload "own" is of type \(none\)'):
            await ReservationKeys(since, Subscription("own")).next_page(connection, 10)
