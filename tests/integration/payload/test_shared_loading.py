"""Many endpoints load reservations together: fewer queries, and to each endpoint as if it were alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest

from cdc_bridge.database import ServerDatabase
from cdc_bridge.errors import LeaseLost, PayloadInvalid
from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.payload import isolated, large_bodies, payload_loader
from cdc_bridge.payload.loaded import ROOM_BYTES, Loaded
from cdc_bridge.payload.shared_loader import SharedReservations
from cdc_bridge.payload.subscription import EVERYTHING, Subscription
from cdc_bridge.payload.suspects import SuspectReservations
from tests.integration.payload.test_loader import body_of, book, keys
from tests.integration.payload.test_routing import ROOMS, only
from tests.support.databases import Database
from tests.support.payloads import define_payload, shared_reservations
from tests.support.waiting import until

T = TypeVar("T")
A, B, C = (EndpointId(number) for number in range(1, 4))


@pytest.fixture
def rooms(database: Database) -> Database:
    """Reservations in many rooms, and a payload of its own for them."""
    book(database, *(f"R{number}" for number in range(150)), adults=2)
    database.execute("update reservations set room_name = 'Room ' || substr(id, 2)")
    define_payload(database, ROOMS, "rooms")
    return database


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The reservations that each query loads, in the order of the queries."""
    run, read = isolated.run_isolated, list[Sequence[str]]()

    async def counted(connection: Any, statement: bytes, parameters: Any, snapshot: str | None = None) -> Any:
        read.append(parameters["reservation_ids"])
        return await run(connection, statement, parameters, snapshot)

    monkeypatch.setattr(payload_loader, "run_isolated", counted)
    return read


async def load(
    shared: SharedReservations, endpoint_id: int, subscription: Subscription, *ids: str, room_bytes: int = ROOM_BYTES
) -> Loaded:
    return await shared.of(EndpointId(endpoint_id), subscription).load(keys(*ids), room_bytes)


async def test_loads_of_many_endpoints_share_a_query(
    rooms: Database, served: ServerDatabase, queries: list[Sequence[str]]
) -> None:
    shared = shared_reservations(served)
    loaded = await asyncio.gather(
        *(load(shared, number, only(room_name=f"Room {number}"), f"R{number}") for number in range(100))
    )
    assert [set(each.reservations) for each in loaded] == [{f"R{number}"} for number in range(100)]
    assert [len(query) for query in queries] == [100]


async def test_a_query_has_a_hundred_reservations_at_most(
    rooms: Database, served: ServerDatabase, queries: list[Sequence[str]]
) -> None:
    shared = shared_reservations(served)
    loaded = await asyncio.gather(*(load(shared, number, EVERYTHING, f"R{number}") for number in range(150)))
    assert all(len(each.reservations) == 1 for each in loaded)
    assert [len(query) for query in queries] == [100, 50]


async def test_reservation_that_several_endpoints_want_is_read_once_and_its_body_is_shared(
    rooms: Database, served: ServerDatabase, queries: list[Sequence[str]]
) -> None:
    shared = shared_reservations(served)
    one, two, other, small = await asyncio.gather(
        load(shared, A, Subscription("rooms"), "R1", "R2"),
        load(shared, B, only(room_name=("Room 1", "Room 3")), "R1", "R2", "R3"),
        load(shared, C, only(room_name="Room 7"), "R1"),
        load(shared, C, EVERYTHING, "R1"),
    )
    assert (set(one.reservations), set(one.filtered)) == ({"R1", "R2"}, set())
    assert (set(two.reservations), set(two.filtered)) == ({"R1", "R3"}, {"R2"})
    assert (set(other.reservations), set(other.filtered)) == (set(), {"R1"})
    assert one.reservations[ReservationId("R1")] is two.reservations[ReservationId("R1")]
    assert len(small.reservations[ReservationId("R1")].body) > len(one.reservations[ReservationId("R1")].body)
    assert Counter(id_ for query in queries for id_ in query) == {"R1": 2, "R2": 1, "R3": 1}  # of two payloads


async def test_load_that_comes_while_a_query_runs_gets_the_state_of_after_it_came(
    rooms: Database, served: ServerDatabase, queries: list[Sequence[str]]
) -> None:
    shared = shared_reservations(served)
    await load(shared, A, EVERYTHING, "R1")  # The shape is read.
    queries.clear()
    for adults in range(3, 30):
        before = asyncio.create_task(load(shared, A, EVERYTHING, "R1"))
        while not queries:
            await asyncio.sleep(0)
        queries.clear()
        rooms.execute("update reservations set adults = %s where id = 'R1'", (adults,))
        after = await load(shared, B, EVERYTHING, "R1")
        assert body_of(after, "R1")["adults"] == adults
        await before


async def test_each_endpoint_gets_what_meets_its_own_conditions(database: Database, served: ServerDatabase) -> None:
    book(database, "IN", adults=5, room_name="Bar")
    book(database, "OUT", adults=1, room_name="Bar")
    define_payload(database, "select r.id, r.adults, r.room_name from {reservation} r where r.adults > 2", "large")
    shared = shared_reservations(served)
    ids = ("IN", "OUT", "GONE")
    wants, wants_not, everything, in_all = await asyncio.gather(
        load(shared, A, only("large", adults="5", room_name="Bar"), *ids),
        load(shared, B, only("large", adults="5", room_name="Cellar"), *ids),
        load(shared, C, Subscription("large"), *ids),
        load(shared, C, EVERYTHING, *ids),
    )
    assert (set(wants.reservations), set(wants.filtered)) == ({"IN"}, {"OUT"})
    assert (set(wants_not.reservations), set(wants_not.filtered)) == (set(), {"IN", "OUT"})
    assert (set(everything.reservations), set(everything.filtered)) == ({"IN"}, {"OUT"})
    assert (set(in_all.reservations), set(in_all.filtered)) == ({"IN", "OUT"}, set())
    assert not any(each.unreadable or each.postponed for each in (wants, wants_not, everything, in_all))


async def test_what_an_unregistered_daemon_loads_is_never_sent(rooms: Database, served: ServerDatabase) -> None:
    daemon_id = rooms.value(
        "insert into cdc_bridge.daemon (name, alive_until, listening) values ('a', now(), true) returning daemon_id"
    )
    shared = shared_reservations(served, daemon_id=daemon_id)
    assert (await load(shared, A, EVERYTHING, "R1")).reservations
    rooms.execute("delete from cdc_bridge.daemon")
    outcomes = await asyncio.gather(
        load(shared, A, EVERYTHING, "R1"),
        load(shared, B, only("reservation", room_name="Room 2"), "R2"),
        load(shared, C, only(room_name="Room 2"), "R1"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [LeaseLost] * 3
    assert await load(shared, A, EVERYTHING, "nobody") == Loaded()
    rooms.execute("update reservations set notes = repeat('n', 100000) where id = 'R1'")
    with pytest.raises(LeaseLost):
        await load(shared, A, EVERYTHING, "R1")


async def test_bad_row_of_one_endpoint_is_reported_to_that_one_alone(rooms: Database, served: ServerDatabase) -> None:
    rooms.execute("update reservations set notes = 'x' where id in ('R7', 'R8')")
    define_payload(rooms, "select r.id, r.room_name, nullif(r.notes, '')::integer as n from {reservation} r", "cast")
    shared = shared_reservations(served)
    loaded = await asyncio.gather(
        *(load(shared, number, only("cast", room_name=f"Room {number}"), f"R{number}", "R8") for number in range(60))
    )
    for number, each in enumerate(loaded):
        bad = number in {7, 8}
        assert set(each.reservations) == (set() if bad else {f"R{number}"})
        assert set(each.unreadable) == set(each.alone_at_fault) == ({f"R{number}"} if bad else set())
        assert set(each.filtered) == ({"R8"} - set(each.unreadable))


@pytest.mark.slow
async def test_others_do_not_wait_until_a_slow_row_is_found_nor_for_one_that_is_known(
    rooms: Database, served: ServerDatabase
) -> None:
    rooms.execute(
        "create function public.slow(note text) returns text language plpgsql volatile as "
        "$$ begin if note <> '' then perform pg_sleep(60); end if; return note; end $$"
    )
    rooms.execute("update reservations set notes = 'slow' where id = 'R7'")
    define_payload(rooms, "select r.id, r.room_name, public.slow(r.notes) as n from {reservation} r", "slow")
    suspects = SuspectReservations()
    shared = shared_reservations(served, suspects=suspects)
    finished: list[int] = []

    async def load_one(number: int) -> Loaded:
        loaded = await load(shared, number, only("slow", room_name=f"Room {number}"), f"R{number}")
        finished.append(number)
        return loaded

    loads = [load_one(number) for number in range(100)]
    loaded = await asyncio.gather(*loads)
    assert finished[-1] == 7
    assert [number for number, each in enumerate(loaded) if not each.reservations] == [7]
    assert set(loaded[7].alone_at_fault) == {"R7"}
    assert suspects.is_alone(ReservationId("R7"))
    finished.clear()
    slow = asyncio.create_task(load_one(7))
    await asyncio.sleep(0)
    await asyncio.gather(*(load_one(number) for number in range(8, 100)))
    assert not slow.done()
    slow.cancel()


async def test_condition_that_does_not_fit_makes_only_its_endpoint_invalid(
    rooms: Database, served: ServerDatabase
) -> None:
    invalid: list[tuple[Subscription, PayloadInvalid]] = []
    shared = shared_reservations(served, invalid=invalid)
    wrong = only(adults="two")
    good, bad = await asyncio.gather(
        load(shared, A, only(adults="2"), "R1"), load(shared, B, wrong, "R1"), return_exceptions=True
    )
    assert isinstance(good, Loaded)
    assert set(good.reservations) == {"R1"}
    assert isinstance(bad, PayloadInvalid)
    assert invalid == [(wrong, bad)]


async def test_payload_that_does_not_fit_is_invalid_for_all_and_others_go_on(
    rooms: Database, served: ServerDatabase
) -> None:
    invalid: list[tuple[Subscription, PayloadInvalid]] = []
    define_payload(rooms, "select r.id, r.web from {reservation} r", "web")
    shared = shared_reservations(served, invalid=invalid)
    rooms.execute("alter table reservations rename web to online")
    loads = [load(shared, number, only("web", web="F"), f"R{number}") for number in range(3)]
    outcomes = await asyncio.gather(*loads, load(shared, C, only(adults="2"), "R1"), return_exceptions=True)
    assert all(isinstance(outcome, PayloadInvalid) for outcome in outcomes)  # "rooms" builds on "reservation" as well.
    assert {subscription for subscription, _ in invalid} == {Subscription("web"), Subscription("rooms")}
    rooms.execute("alter table reservations rename online to web")
    assert (await load(shared, A, only("web", web="F"), "R1")).reservations


async def test_payload_that_fails_for_every_row_is_found_out_together(rooms: Database, served: ServerDatabase) -> None:
    define_payload(rooms, "select r.id, r.room_name, r.room_name::integer as n from {reservation} r", "cast")
    invalid: list[tuple[Subscription, PayloadInvalid]] = []
    shared = shared_reservations(served, invalid=invalid)
    bar = only("cast", room_name="Room 1")
    outcomes = await asyncio.gather(
        load(shared, A, bar, "R1"),
        load(shared, B, only("cast", room_name="elsewhere"), "R1", "gone"),
        load(shared, C, Subscription("cast"), "R2"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], PayloadInvalid)
    assert isinstance(outcomes[2], PayloadInvalid)
    assert outcomes[0].evidence
    assert isinstance(outcomes[1], Loaded)
    assert outcomes[1].filtered == {"R1"}
    assert [subscription for subscription, _ in invalid] == [bar, Subscription("cast")]


async def test_large_body_is_loaded_once_and_postponed_for_those_without_room(
    rooms: Database, served: ServerDatabase, queries: list[Sequence[str]]
) -> None:
    rooms.execute("update reservations set notes = repeat('n', 200000) where id in ('R1', 'R2')")
    shared = shared_reservations(served)
    roomy, full, other = await asyncio.gather(
        load(shared, A, EVERYTHING, "R1", "R3"),
        load(shared, B, EVERYTHING, "R1", "R3", room_bytes=1000),
        load(shared, C, only("reservation", room_name="Room 2"), "R1", "R2"),
    )
    assert (set(roomy.reservations), set(roomy.postponed)) == ({"R1", "R3"}, set())
    assert (set(full.reservations), set(full.postponed)) == ({"R3"}, {"R1"})
    assert (set(other.reservations), set(other.filtered)) == ({"R2"}, {"R1"})
    assert queries == [["R1", "R3", "R2"], ["R1", "R2"], ["R1"], ["R2"]]  # together, measured, and each by itself


async def test_endpoint_that_has_large_bodies_gets_no_more_of_them_while_there_are_many_of_others(
    rooms: Database, served: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms.execute("update reservations set notes = repeat('n', 200000) where id in ('R1', 'R2', 'R3')")
    monkeypatch.setattr(large_bodies, "MOST_BYTES", 500_000)
    shared = shared_reservations(served)
    held = [await load(shared, A, EVERYTHING, "R1"), await load(shared, B, EVERYTHING, "R2", "R3")]
    assert [set(each.reservations) for each in held] == [{"R1"}, {"R2"}]
    assert held[1].postponed == {"R3"}
    more = await load(shared, A, EVERYTHING, "R3", "R4", room_bytes=ROOM_BYTES - 200_000)
    assert (set(more.reservations), set(more.postponed)) == ({"R4"}, {"R3"})
    assert set((await load(shared, C, EVERYTHING, "R3")).reservations) == {"R3"}
    held.clear()
    assert set((await load(shared, A, EVERYTHING, "R3", room_bytes=ROOM_BYTES - 200_000)).reservations) == {"R3"}


async def test_load_that_is_cancelled_ends_its_query_and_harms_no_other(
    rooms: Database, served: ServerDatabase
) -> None:
    shared = shared_reservations(served)
    async with rooms.connection(autocommit=False) as upgrade:
        await upgrade.execute("lock table reservations in access exclusive mode")
        waiting = "select count(*) from pg_locks where not granted and relation = 'reservations'::regclass"
        loads = [asyncio.create_task(load(shared, A, EVERYTHING, "R1")) for _ in range(2)]
        await until(lambda: rooms.value(waiting) == 1, "it waits")
        loads[0].cancel()
        await upgrade.rollback()
    assert (await loads[1]).reservations
    async with rooms.connection(autocommit=False) as upgrade:
        await upgrade.execute("lock table reservations in access exclusive mode")
        lone = asyncio.create_task(load(shared, A, EVERYTHING, "R1"))
        await until(lambda: rooms.value(waiting) == 1, "it waits")
        lone.cancel()
        await until(lambda: rooms.value(waiting) == 0, "its query ends")
        await upgrade.rollback()
    assert (await load(shared, A, EVERYTHING, "R1")).reservations


async def test_bodies_are_as_they_are_without_conditions(rooms: Database, served: ServerDatabase) -> None:
    shared = shared_reservations(served)
    plain = await load(shared, A, EVERYTHING, "R1")
    assert plain.reservations == (await load(shared, B, only("reservation", status="Confirmed"), "R1")).reservations
