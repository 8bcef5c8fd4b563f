"""Which endpoints a changed reservation is queued for: nobody who wants it is left out, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from cdc_bridge.database import ServerDatabase
from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.payload import routing
from cdc_bridge.payload.routing import Router, Routes
from cdc_bridge.payload.subscription import Condition, Subscription
from cdc_bridge.payload.suspects import SuspectReservations
from cdc_bridge.sessions import LoadingConnection, Session
from tests.integration.payload.test_loader import book, keys
from tests.integration.payload.test_subscription import ROW, TYPED
from tests.support.databases import Database
from tests.support.payloads import define_payload

T = TypeVar("T")

ALL, A, B, C, D = (EndpointId(number) for number in range(5))
ROOMS = "select r.id, r.room_name, r.adults, r.notes, r.cancelled from {reservation} r"
PAGE = 60
"""More reservations than are read by the function that loads them."""


class Counted(ServerDatabase):
    """The database, counting what is asked of it."""

    def __init__(self, served: ServerDatabase) -> None:
        super().__init__(served._database, served._incarnation)
        self.operations = 0

    async def patiently(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        self.operations += 1
        return await super().patiently(operation)

    async def load_patiently(self, operation: Callable[[LoadingConnection], Awaitable[T]]) -> T:
        self.operations += 1
        return await super().load_patiently(operation)


def only(payload: str = "rooms", **conditions: str | tuple[str, ...]) -> Subscription:
    return Subscription(
        payload,
        tuple(
            Condition(column, (values,) if isinstance(values, str) else values) for column, values in conditions.items()
        ),
    )


async def router_of(
    served: ServerDatabase, subscriptions: dict[EndpointId, Subscription], suspects: SuspectReservations | None = None
) -> Router:
    router = Router(served, defaultdict(SuspectReservations if suspects is None else lambda: suspects))
    await router.add(subscriptions)
    return router


def open_in(routes: Routes) -> tuple[set[ReservationId], set[EndpointId]]:
    return set(routes.unestablished), set(routes.undecided)


def named(routes: Routes) -> dict[str, set[int]]:
    return {str(id_): {int(endpoint_id) for endpoint_id in endpoints} for id_, endpoints in routes.endpoints.items()}


@pytest.fixture
def rooms(database: Database) -> Database:
    """Reservations in two rooms, and a payload of its own for them."""
    book(database, "BAR", room_name="Bar", adults=2)
    book(database, "TERRACE", room_name="Terrace", adults=3)
    define_payload(database, ROOMS, "rooms")
    return database


async def test_each_reservation_goes_to_those_who_want_it(rooms: Database, served: ServerDatabase) -> None:
    router = await router_of(
        served,
        {ALL: Subscription(), A: only(room_name="Bar"), B: only(room_name=("Bar", "Terrace")), C: only(adults="3")},
    )
    routes = await router.route(keys("BAR", "TERRACE", "BAR"))
    assert named(routes) == {"BAR": {ALL, A, B}, "TERRACE": {ALL, B, C}}
    assert open_in(routes) == (set(), set())
    assert named(await router.route(keys("BAR", "TERRACE"), among={A, C})) == {"BAR": {A}, "TERRACE": {C}}
    await router.add({A: only(room_name="Terrace"), D: only(room_name="Bar")})
    router.remove(B)
    router.remove(EndpointId(99))
    assert named(await router.route(keys("BAR", "TERRACE"))) == {"BAR": {ALL, D}, "TERRACE": {ALL, A, C}}


async def test_nothing_is_read_for_those_without_conditions(rooms: Database, served: ServerDatabase) -> None:
    counted = Counted(served)
    router = await router_of(counted, {ALL: Subscription(), A: Subscription("rooms")})
    assert named(await router.route(keys("BAR", "nobody"))) == {"BAR": {ALL, A}, "nobody": {ALL, A}}
    assert counted.operations == 0
    await router.add({B: only(room_name="Bar")})
    counted.operations = 0
    assert named(await router.route(keys("BAR"), among={A})) == {"BAR": {A}}
    assert named(await router.route([])) == {}
    assert counted.operations == 0


@pytest.mark.parametrize("payload", ["rooms", "reservation"])
@pytest.mark.parametrize("number", [1, PAGE])
async def test_one_statement_serves_any_number_of_endpoints_and_reservations(
    number: int, payload: str, rooms: Database, served: ServerDatabase
) -> None:
    book(rooms, *(f"R{each}" for each in range(PAGE)), room_name="Cellar")
    rooms.execute("update reservations set room_name = 'room ' || id where id like 'R%'")
    counted = Counted(served)
    endpoints = {EndpointId(each): only(payload, room_name=f"room R{each}") for each in range(PAGE)}
    router = await router_of(counted, endpoints)
    counted.operations = 0
    routes = await router.route(keys(*(f"R{each}" for each in range(number))))
    assert named(routes) == {f"R{each}": {each} for each in range(number)}
    assert counted.operations == 1


async def test_ten_thousand_endpoints_are_added_at_once(rooms: Database, served: ServerDatabase) -> None:
    counted = Counted(served)
    endpoints = {EndpointId(number): only(room_name=f"Room {number}") for number in range(10_000)}
    endpoints[EndpointId(10_000)] = only(room_name="Bar")
    router = await router_of(counted, endpoints)
    assert counted.operations == 1
    assert named(await router.route(keys("BAR", "TERRACE"))) == {"BAR": {10_000}, "TERRACE": set()}


@pytest.mark.parametrize(
    ("column", "matching", "other"),
    [
        ("status", "Confirmed", "confirmed"),
        ("adults", " 3 ", "4"),
        ("amount_spend", "12.500", "12.51"),
        ("day", "1 July 2026", "2026-07-02"),
        ("flag", "yes", "F"),
        ("uuid", "E1E1D3D40573127E9EE0480CAF1283D6", "E1E1D3D40573127E9EE0480CAF1283D7"),
        ("room", "100% Bar, upstairs", "100%"),
        ("meal", "Dinner  ", "Dinne"),
        ("notes", "", "x"),
        ("@hidden", "100% Bar, upstairs", "Bar"),
        ("hours", "90.0", "90.1"),
        ("odd % column", "it's 4", "it''s 4"),
        ("id", "R", "r"),
    ],
)
@pytest.mark.parametrize("number", [1, PAGE])
async def test_values_are_compared_in_the_type_of_the_column(
    column: str, matching: str, other: str, number: int, database: Database, served: ServerDatabase
) -> None:
    book(database, "R", **ROW)
    define_payload(database, TYPED, "typed")
    router = await router_of(served, {A: only("typed", **{column: matching}), B: only("typed", **{column: other})})
    routes = await router.route(keys("R", *(f"gone {each}" for each in range(number - 1))))
    assert routes.endpoints[ReservationId("R")] == {A}


async def test_endpoint_that_no_column_can_tell_gets_everything_as_the_load_filters(
    database: Database, served: ServerDatabase
) -> None:
    book(database, "R", **ROW)
    define_payload(database, TYPED, "typed")
    never = only("typed", at="1999-01-01")
    router = await router_of(
        served, {A: never, B: only("typed", at="1999-01-01", status="x"), C: only("typed", status="x")}
    )
    assert named(await router.route(keys("R", "gone"))) == {"R": {A}, "gone": {A}}


async def test_endpoint_whose_condition_or_payload_is_invalid_gets_everything_and_harms_no_other(
    rooms: Database, served: ServerDatabase
) -> None:
    router = await router_of(
        served,
        {
            A: only(adults="three"), B: only(nothing="x"), C: only("undefined", room_name="Bar"), D: only(adults="3"),
        },
    )  # fmt: skip
    assert named(await router.route(keys("BAR", "TERRACE"))) == {"BAR": {A, B, C}, "TERRACE": {A, B, C, D}}


async def test_hostile_values_are_values(rooms: Database, served: ServerDatabase) -> None:
    values = ["' or true --", "{", '"', "\\", "NULL", "}',1)", "%s", "%(x)s", "a'b\"c,d", "\u202e", "\x01", " "]
    for number, value in enumerate(values):
        book(rooms, f"R{number}", room_name=value)
    router = await router_of(served, {EndpointId(number): only(room_name=value) for number, value in enumerate(values)})
    ids = [f"R{number}" for number in range(len(values))]
    expected = {id_: {number} for number, id_ in enumerate(ids)}
    assert named(await router.route(keys(*ids))) == expected
    odd = ["' or true --", "{}", "\\", "%s", ""]
    assert named(await router.route(keys(*ids, *odd))) == expected | {id_: set() for id_ in odd}


async def test_deleted_reservation_and_one_that_the_payload_leaves_out_go_to_nobody_who_is_routed(
    rooms: Database, served: ServerDatabase
) -> None:
    define_payload(rooms, "select r.* from {rooms} r where r.adults > 2", "large")
    router = await router_of(served, {ALL: Subscription("large"), A: only("large", room_name=("Bar", "Terrace"))})
    routes = await router.route(keys("BAR", "TERRACE", "GONE"))
    assert named(routes) == {"BAR": {ALL}, "TERRACE": {ALL, A}, "GONE": {ALL}}
    assert not routes.unestablished


@pytest.mark.parametrize("number", [2, PAGE])
async def test_missing_reservation_is_not_established_while_changes_are_not_captured(
    number: int, rooms: Database, served: ServerDatabase
) -> None:
    router = await router_of(served, {ALL: Subscription(), A: only(room_name="Bar"), B: only(room_name="Terrace")})
    rooms.execute("alter table reservations disable trigger cdc_bridge_update")
    gone = [f"GONE {each}" for each in range(number - 1)]
    routes = await router.route(keys("BAR", *gone))
    assert named(routes) == {"BAR": {ALL, A}} | {id_: {ALL} for id_ in gone}
    assert open_in(routes) == (set(gone), {A, B})
    routes = await router.route(keys("BAR", *gone), among={ALL, B})
    assert open_in(routes) == (set(gone), {B})
    rooms.execute("alter table reservations enable trigger cdc_bridge_update")
    routes = await router.route(keys("BAR", *gone))
    assert open_in(routes) == (set(), set())


@pytest.mark.parametrize("type_", ["bigint", "numeric(10, 2)", "float8", "smallint"])
@pytest.mark.parametrize("number", [1, PAGE])
async def test_column_that_is_retyped_meanwhile_is_compared_as_before(
    type_: str, number: int, rooms: Database, served: ServerDatabase
) -> None:
    router = await router_of(served, {A: only(adults="2"), B: only(adults="3", room_name=("x", "y"))})
    ids = keys("BAR", "TERRACE", *(f"GONE {each}" for each in range(number)))
    expected = {id_: {"BAR": {A}, "TERRACE": {B}}.get(id_, set()) for id_ in ids}
    assert named(await router.route(ids)) == expected
    rooms.execute(f"alter table reservations alter column adults type {type_}")
    assert named(await router.route(ids)) == expected


OTHERWISE = {
    "a number to text": ("alter column adults type text using adults || ' people'", only(adults="2")),
    "a flag to a boolean": (
        "alter column cancelled drop default, alter column cancelled type boolean using cancelled = 'T'",
        only(cancelled="F"),
    ),
    "text to an array": (
        "alter column room_name drop default, alter column room_name type text[] using array[room_name]",
        only(room_name="Bar"),
    ),
}
BROKEN = {
    "column dropped": ("alter table reservations drop column adults", None),
    "column renamed": (
        "alter table reservations rename adults to grown_ups", "alter table reservations rename grown_ups to adults"
    ),
    "right lost": (
        "revoke select on reservations from cdc_bridge_loader", "grant select on reservations to cdc_bridge_loader"
    ),
    "table renamed": ("alter table reservations rename to bookings", "alter table bookings rename to reservations"),
    "payload dropped": ("select cdc_bridge.drop_payload('rooms')", None),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERWISE)
async def test_column_of_another_form_leaves_open_who_wants_what(
    name: str, rooms: Database, served: ServerDatabase
) -> None:
    """The load finds the payload invalid then; until it does, nothing is taken for unwanted."""
    change, subscription = OTHERWISE[name]
    router = await router_of(served, {A: subscription, ALL: Subscription()})
    assert named(await router.route(keys("BAR"))) == {"BAR": {ALL, A}}
    rooms.execute("alter table reservations drop constraint if exists reservations_cancelled_check")
    rooms.execute(f"alter table reservations {change}")
    for ids in (keys("BAR"), keys("BAR", *(f"GONE {each}" for each in range(PAGE)))):
        routes = await router.route(ids)
        assert open_in(routes) == (set(ids), {A})
        assert routes.endpoints[ids[0]] == {ALL}


@pytest.mark.parametrize("name", BROKEN)
async def test_payload_that_fails_as_a_whole_leaves_its_endpoints_open_and_harms_no_other(
    name: str, rooms: Database, served: ServerDatabase
) -> None:
    breaks, mends = BROKEN[name]
    rooms.execute("create table public.mine as select id, room_name from reservations")
    rooms.execute("grant select on public.mine to cdc_bridge_loader")
    define_payload(rooms, "select m.id, m.room_name from public.mine m", "mine")
    router = await router_of(
        served, {ALL: Subscription(), A: only(adults="2"), B: only("mine", room_name="Bar"), C: only(room_name="x")}
    )
    rooms.execute(breaks)
    for ids in (keys("BAR", "TERRACE"), keys("BAR", "TERRACE", *(f"BAR {each}" for each in range(PAGE)))):
        routes = await router.route(ids)
        assert routes.undecided >= {A, C}
        assert routes.unestablished == set(ids)
        assert routes.endpoints[ids[0]] == {ALL, B}
        if name != "table renamed":  # Then capture has a problem, and what is missing in "mine" as well.
            assert routes.undecided == {A, C}
    if mends is not None:
        rooms.execute(mends)
        assert named(await router.route(keys("BAR"))) == {"BAR": {ALL, A, B}}


async def test_nobody_waits_for_long_for_a_table_of_another_payload(
    rooms: Database, served: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "_LONGEST_SECONDS", 1.0)
    rooms.execute("create table public.mine as select id, room_name from reservations")
    rooms.execute("grant select on public.mine to cdc_bridge_loader")
    define_payload(rooms, "select m.id, m.room_name from public.mine m", "mine")
    router = await router_of(served, {A: only(adults="2"), B: only("mine", room_name="Bar")})
    async with rooms.connection(autocommit=False) as upgrade:
        await upgrade.execute("lock table public.mine in access exclusive mode")
        routes = await router.route(keys("BAR"))
        assert named(routes) == {"BAR": {A}}
        assert open_in(routes) == ({"BAR"}, {B})
    assert named(await router.route(keys("BAR"))) == {"BAR": {A, B}}


@pytest.mark.parametrize("number", [1, PAGE])
async def test_payload_that_is_defined_anew_meanwhile_is_followed(
    number: int, rooms: Database, served: ServerDatabase
) -> None:
    router = await router_of(served, {A: only(adults="2"), B: only(adults="3"), C: only(room_name="Bar")})
    more = keys(*(f"GONE {each}" for each in range(number - 1)))

    async def wanting_bar() -> set[EndpointId]:
        routes = await router.route([ReservationId("BAR"), *more])
        assert not routes.unestablished
        return set(routes.endpoints[ReservationId("BAR")])

    assert await wanting_bar() == {A, C}
    for query, expected in (
        ("select r.id, r.adults + 1 as adults, r.room_name from {reservation} r", {B, C}),
        ("select r.id, r.room_name, r.adults from {reservation} r", {A, C}),  # in another order
        (
            "select r.id, r.adults as room_name, r.room_name as adults from {reservation} r",
            {C},
        ),  # exchanged: C's does not fit
        ("select r.id, r.adults from {reservation} r", {A, C}),  # C's condition does not fit: it gets everything
        ("select r.id, r.adults::text || ' people' as adults, r.room_name from {reservation} r", {C}),
        ("select r.id, r.adults::numeric(9, 3) as adults, r.room_name from {reservation} r", {A, C}),
    ):
        define_payload(rooms, query, "rooms")
        assert await wanting_bar() == expected, query


async def test_endpoint_is_never_missed_while_the_payload_is_defined_anew(
    rooms: Database, served: ServerDatabase
) -> None:
    router = await router_of(served, {A: only(adults="2.0", room_name=("Bar", "x")), B: only(room_name="Bar")})
    defining = True

    async def route_meanwhile() -> None:
        while defining:
            routes = await router.route(keys("BAR"))
            assert routes.endpoints[ReservationId("BAR")] | routes.undecided >= {A, B}

    routing = [asyncio.create_task(route_meanwhile()) for _ in range(4)]
    for number in range(30):
        adults = "r.adults::numeric" if number % 2 else "'2.0'::text"
        query = f"select r.id, {adults} as adults, r.room_name, {number} as number from {{reservation}} r"
        await asyncio.to_thread(define_payload, rooms, query, "rooms")
        await router.add({C: only(room_name="Terrace")})
    defining = False
    await asyncio.gather(*routing)
    assert named(await router.route(keys("BAR", "TERRACE"))) == {"BAR": {A, B}, "TERRACE": {C}}


async def test_endpoints_that_are_added_by_a_newer_definition_are_routed_by_it_with_the_others(
    rooms: Database, served: ServerDatabase
) -> None:
    router = await router_of(served, {A: only(room_name="Bar")})
    define_payload(
        rooms, "select r.id, r.room_name, r.adults::text || ' people' as adults from {reservation} r", "rooms"
    )
    await router.add({B: only(adults="2 people"), C: only(adults="2")})
    assert named(await router.route(keys("BAR"))) == {"BAR": {A, B}}


async def test_reservation_with_several_rows_goes_to_those_who_want_one_of_them(
    rooms: Database, served: ServerDatabase
) -> None:
    rooms.execute("create table dishes (reservation_id text, dish text); grant select on dishes to cdc_bridge_loader")
    rooms.execute("insert into dishes values ('BAR', 'cake'), ('BAR', 'soup')")
    define_payload(
        rooms, "select r.id, d.dish from {reservation} r join public.dishes d on d.reservation_id = r.id", "fed"
    )
    router = await router_of(
        served, {A: only("fed", dish="cake"), B: only("fed", dish="soup"), C: only("fed", dish="pie")}
    )
    assert named(await router.route(keys("BAR", "TERRACE"))) == {"BAR": {A, B}, "TERRACE": set()}


CAST = "select r.id, r.notes::integer as number, r.room_name, r.allergies::integer as other from {reservation} r"


@pytest.mark.parametrize("number", [3, PAGE])
async def test_reservation_whose_value_cannot_be_read_goes_to_all_endpoints_of_the_payload(
    number: int, rooms: Database, served: ServerDatabase
) -> None:
    goods = [f"GOOD {each}" for each in range(number)]
    book(rooms, *goods, notes="5", allergies="1")
    book(rooms, "BAD", notes="five", allergies="1", room_name="Bar")
    define_payload(rooms, CAST, "cast")
    router = await router_of(
        served,
        {ALL: Subscription(), A: only("cast", number="5"), B: only("cast", number="6"), C: only(room_name="Bar")},
    )
    routes = await router.route(keys(*goods, "BAD"))
    assert named(routes) == {id_: {ALL, A} for id_ in goods} | {"BAD": {ALL, A, B, C}}
    assert not routes.unestablished


@pytest.mark.parametrize("number", [1, PAGE])
async def test_value_that_no_condition_is_about_does_not_matter(
    number: int, rooms: Database, served: ServerDatabase
) -> None:
    bad = [f"BAD {each}" for each in range(number)]
    book(rooms, *bad, notes="5", allergies="many", room_name="Bar")
    define_payload(rooms, CAST, "cast")
    router = await router_of(served, {A: only("cast", number="5"), B: only("cast", number="6")})
    assert named(await router.route(keys(*bad))) == {id_: {A} for id_ in bad}


async def test_payload_that_fails_for_every_row_is_no_flood(rooms: Database, served: ServerDatabase) -> None:
    bad = [f"BAD {each}" for each in range(4)]
    book(rooms, *bad, notes="five", allergies="1")
    define_payload(rooms, CAST, "cast")
    router = await router_of(served, {A: only("cast", number="5"), C: only(room_name="Bar")})
    routes = await router.route(keys(*bad))
    assert open_in(routes) == (set(bad), {A})


async def test_large_reservation_is_routed(rooms: Database, served: ServerDatabase) -> None:
    rooms.execute("update reservations set notes = repeat('n', 30000000) where id = 'BAR'")
    router = await router_of(served, {A: only(room_name="Bar")})
    assert named(await router.route(keys("BAR"))) == {"BAR": {A}}


@pytest.fixture
def troubled(rooms: Database) -> Iterator[Database]:
    """A page of reservations, one of which is bad, and the right to end sessions."""
    book(rooms, *(f"GOOD {each}" for each in range(PAGE)), room_name="Bar")
    book(rooms, "BAD", room_name="Bar", notes="bad")
    rooms.execute("grant pg_signal_backend to cdc_bridge_loader")
    yield rooms
    rooms.execute("revoke pg_signal_backend from cdc_bridge_loader")  # The roles are the cluster's.


def trouble(database: Database, statement: str) -> None:
    """Have the payload's column "room" call a function that is in trouble with the bad one."""
    database.execute(
        "create function public.trouble(room text, note text) returns text language plpgsql volatile as "
        f"$$ begin if note = 'bad' then {statement}; end if; return room; end $$"
    )
    define_payload(database, "select r.id, public.trouble(r.room_name, r.notes) as room from {reservation} r", "rooms")


@pytest.mark.parametrize(
    "statement",
    [
        "perform pg_terminate_backend(pg_backend_pid())",
        "perform pg_cancel_backend(pg_backend_pid()); perform pg_sleep(1)",
        "perform pg_sleep(60)",
        "raise exception using errcode = '40001'",
        "create table public.mine (x int)",
    ],
    ids=["session ended", "cancelled", "endless", "raised as 40001", "read-only"],
)
async def test_row_that_looks_like_a_lost_database_is_found_and_remembered(
    statement: str, troubled: Database, served: ServerDatabase
) -> None:
    trouble(troubled, statement)
    suspects = SuspectReservations()
    router = await router_of(served, {A: only(room="Bar"), B: only(room="Terrace")}, suspects)
    goods = [f"GOOD {each}" for each in range(PAGE)]
    for _ in range(2):
        routes = await router.route(keys(*goods, "BAD"))
        assert named(routes) == {id_: {A} for id_ in goods} | {"BAD": {A, B}}
        assert not routes.unestablished
    assert not any(suspects.is_alone(id_) for id_ in keys(*goods))
    troubled.execute("update reservations set notes = '' where id = 'BAD'")
    while B in (await router.route(keys("BAD"))).endpoints[ReservationId("BAD")]:
        pass
    assert not suspects.is_alone(ReservationId("BAD"))


async def test_routes_of_several_pages_at_once_while_endpoints_come_and_go(
    rooms: Database, served: ServerDatabase
) -> None:
    router = await router_of(served, {A: only(room_name="Bar")})
    pages = [asyncio.create_task(router.route(keys("BAR", "TERRACE"))) for _ in range(20)]
    for number in range(100, 130):
        await router.add({EndpointId(number): only(room_name="Terrace")})
        router.remove(EndpointId(number))
    for page in pages:
        assert A in (await page).endpoints[ReservationId("BAR")]
    assert named(await router.route(keys("BAR", "TERRACE"))) == {"BAR": {A}, "TERRACE": set()}
