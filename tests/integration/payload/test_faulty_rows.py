"""Whatever a row makes PostgreSQL do, the others are delivered, and it waits and is named; nothing of it is told."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import Iterator

import psycopg
import pytest

from cdc_bridge.database import Database as DaemonDatabase
from cdc_bridge.database import ServerDatabase, full_problem_of
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.payload.loaded import ROOM_BYTES, Loaded
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.shared_loader import EndpointReservations
from cdc_bridge.payload.subscription import EVERYTHING
from cdc_bridge.payload.suspects import SuspectReservations
from cdc_bridge.runtime.mapping_monitor import MappingMonitor
from tests.support.databases import Database
from tests.support.payloads import replace_in_payload, shared_reservations
from tests.support.waiting import until
from tests.support.workload import chosen_seed

GUEST = "Novák 07700 900123"
BAD, *GOOD = ids = [ReservationId(id_) for id_ in ("BAD", "R1", "R2", "R3", "R4")]

RAISE = "raise exception 'no room for %', note using errcode = '{}'"
TROUBLES = {
    "no data found": "select 'x' into strict note from pg_class where relname = note",
    "too many rows": "select relname into strict note from pg_class",
    "case without else": "case note when 'x' then null; end case",
    "assertion": "assert false, note",
    "text search limit": "perform to_tsvector('simple', (select string_agg(md5(i::text), ' ') "
    "from generate_series(1, 100000) i))",
    "recursion": "perform public.trouble(note)",
    "dynamic statement": "execute 'select ' || note",
    "division": "perform 1 / length('')",
    "cast": "perform note::integer",
    "json": "perform note::json",
    "text search": "perform to_tsquery('simple', note)",
    "setting": "perform current_setting(note)",
    "a table's name": "perform note::regclass",
    "jsonpath": "perform note::jsonpath",
    "endless": "perform pg_sleep(60)",
    "allocation": "perform repeat('x', 1 << 30)",
    "read-only": "create table public.mine (x int)",
    "rights": "perform secret from cdc_bridge.endpoint",
    "cancelled": "perform pg_cancel_backend(pg_backend_pid()); perform pg_sleep(1)",
    "session ended": "perform pg_terminate_backend(pg_backend_pid())",
    "an own class": RAISE.format("EB001"),
    **{
        f"raised as {code}": RAISE.format(code)
        for code in ("40001", "40P01", "53100", "53200", "57014", "57P01", "08006")
    },
    **{
        f"raised as {code}": RAISE.format(code)
        for code in ("25006", "55P03", "25P03", "XX000", "XX001", "42501", "42P01")
    },
}


def random_codes(number: int) -> list[str]:
    chance = random.Random(chosen_seed())
    return ["".join(chance.choices(string.digits + string.ascii_uppercase, k=5)) for _ in range(number)]


@pytest.fixture(autouse=True)
def may_signal(database: Database) -> Iterator[None]:
    """Let rows cancel or end the session that loads them."""
    database.execute("grant pg_signal_backend to cdc_bridge_loader")
    yield
    database.execute("revoke pg_signal_backend from cdc_bridge_loader")  # The roles are the cluster's.


def plant(database: Database, trouble: str, *, for_all: bool = False, kind: str = "volatile") -> None:
    """Have the payload call a function that is in trouble with one reservation, or with all."""
    database.execute("insert into customers (id) values ('C')")
    database.execute(
        "insert into reservations (id, cust_id, reference, notes) "
        "select id, 'C', 1, case id when 'BAD' then %s else '' end from unnest(%s::text[]) as id",
        (GUEST, ids),
    )
    database.execute(
        f"create function public.trouble(note text) returns text language plpgsql {kind} as "
        f"$$ begin if note <> '' or {for_all} then {trouble}; end if; return note; end $$"
    )
    replace_in_payload(database, "r.notes,", "public.trouble(r.notes) as notes,")


def reservations(served: ServerDatabase, suspects: SuspectReservations | None = None) -> EndpointReservations:
    return shared_reservations(served, suspects=suspects or SuspectReservations()).of(EndpointId(1), EVERYTHING)


def assert_only_bad_waits(loaded: Loaded) -> None:
    assert loaded.reservations.keys() == set(GOOD)
    assert loaded.unreadable.keys() == {BAD}
    reason = loaded.unreadable[BAD]
    assert not any(part in reason for part in GUEST.split())


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
async def test_one_row_waits_and_the_others_are_loaded(
    trouble: str, database: Database, served: ServerDatabase
) -> None:
    plant(database, trouble)
    assert_only_bad_waits(await reservations(served).load(ids, ROOM_BYTES))


async def test_one_row_waits_whatever_sqlstate_it_raises(database: Database, served: ServerDatabase) -> None:
    plant(database, "null")
    for code in random_codes(30):
        database.execute(
            "create or replace function public.trouble(note text) returns text language plpgsql as "
            f"$$ begin if note <> '' then {RAISE.format(code)}; end if; return note; end $$"
        )
        assert_only_bad_waits(await reservations(served).load(ids, ROOM_BYTES))


async def test_damaged_value_is_named_and_the_others_are_loaded(database: Database, served: ServerDatabase) -> None:
    plant(database, "null")
    database.execute(
        "update reservations set notes = (select string_agg(md5(i::text), '') from generate_series(1, 300) i) "
        "where id = 'BAD'"
    )
    toast = database.value("select reltoastrelid::regclass::text from pg_class where oid = 'reservations'::regclass")
    as_kind = f"update pg_class set relkind = '{{}}' where oid = '{toast}'::regclass"
    database.execute("; ".join([as_kind.format("r"), f"delete from {toast}", as_kind.format("t")]))
    loaded = await reservations(served).load(ids, ROOM_BYTES)
    assert loaded.reservations.keys() == set(GOOD)
    assert loaded.unreadable[BAD] == "DataCorrupted, SQLSTATE XX001"


@pytest.mark.parametrize("trouble", ["an own class", "cast", "cancelled", "raised as 40001"])
async def test_payload_that_fails_for_every_row_is_at_fault(
    trouble: str, database: Database, served: ServerDatabase
) -> None:
    plant(database, TROUBLES[trouble], for_all=True, kind="stable")
    with pytest.raises(PayloadInvalid, match="fails for each of") as raised:
        await reservations(served).load(ids[:2], ROOM_BYTES)
    assert not any(part in raised.value.problem for part in GUEST.split())


@pytest.mark.parametrize("kind", ["stable", "volatile"])
async def test_one_row_alone_is_at_fault_if_others_can_be_loaded(
    kind: str, database: Database, served: ServerDatabase
) -> None:
    plant(database, TROUBLES["an own class"], kind=kind)
    database.execute(
        "insert into cdc_bridge.delivery "
        "(endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures) "
        "values (1, 1, 'R1', 'U', now(), 'delivered', 1, 0)"
    )
    loaded = await reservations(served).load([BAD], ROOM_BYTES)
    assert loaded.alone_at_fault == {BAD}


async def test_only_row_of_all_says_nothing_of_the_payload(database: Database, served: ServerDatabase) -> None:
    plant(database, TROUBLES["an own class"])
    database.execute("delete from reservations where id <> 'BAD'")
    loaded = await reservations(served).load([BAD], ROOM_BYTES)
    assert loaded.unreadable.keys() == {BAD}
    assert not loaded.alone_at_fault


@pytest.mark.parametrize("size", [10, 100_000])
async def test_reservation_that_a_join_multiplies_waits_and_is_named(
    size: int, database: Database, served: ServerDatabase
) -> None:
    plant(database, "null")
    database.execute("update reservations set notes = repeat('x', %s) where id = 'BAD'", (size,))
    replace_in_payload(
        database,
        "from public.reservations r",
        "from public.reservations r left join (values (1), (2)) as t (n) on r.id = 'BAD'",
    )
    loaded = await reservations(served).load(ids, ROOM_BYTES)
    assert loaded.reservations.keys() == set(GOOD)
    assert "several rows" in loaded.unreadable[BAD]
    assert loaded.alone_at_fault == {BAD}


async def test_row_that_ends_the_session_is_left_out_of_every_other_load(
    database: Database, served: ServerDatabase
) -> None:
    plant(database, TROUBLES["session ended"])
    suspects = SuspectReservations()
    for _ in range(3):
        assert_only_bad_waits(await reservations(served, suspects).load(ids, ROOM_BYTES))
    assert suspects.is_alone(BAD)
    database.execute("update reservations set notes = '' where id = 'BAD'")
    found = [await reservations(served, suspects).load(ids, ROOM_BYTES) for _ in range(2)]
    assert BAD in found[-1].reservations
    assert not suspects.is_alone(BAD)


async def test_operator_s_own_terminal_shows_the_values(database: Database) -> None:
    plant(database, TROUBLES["an own class"])
    async with database.loading_connection() as connection:
        loaded = await ReservationLoader(describe=full_problem_of).load(connection, [BAD])
    assert GUEST in loaded.unreadable[BAD]


@pytest.mark.parametrize("expression", ["to_tsquery('simple', r.notes)::text", "current_setting(r.notes)"])
async def test_message_of_postgresql_itself_tells_no_value(
    expression: str, database: Database, served: ServerDatabase
) -> None:
    plant(database, "null")
    replace_in_payload(
        database, "public.trouble(r.notes) as notes,", f"case r.id when 'BAD' then {expression} end as notes,"
    )
    assert_only_bad_waits(await reservations(served).load(ids, ROOM_BYTES))


@pytest.mark.slow
async def test_some_slow_rows_among_others_wait_and_the_others_are_loaded(
    database: Database, served: ServerDatabase
) -> None:
    plant(database, "perform pg_sleep(60)")
    database.execute("update reservations set notes = 'slow' where id in ('R2', 'R4')")
    suspects = SuspectReservations()
    found = await reservations(served, suspects).load(ids, ROOM_BYTES)
    assert found.reservations.keys() == {"R1", "R3"}
    assert found.unreadable.keys() == {"BAD", "R2", "R4"}
    assert set(found.unreadable.values()) == {"QueryCanceled, SQLSTATE 57014"}
    assert [id_ for id_ in ids if suspects.is_alone(id_)] == ["BAD", "R2", "R4"]


@pytest.mark.slow
async def test_honest_rows_that_take_longer_together_than_a_load_may_are_all_loaded(
    database: Database, served: ServerDatabase
) -> None:
    plant(database, "null")
    replace_in_payload(database, "public.trouble(r.notes) as notes,", "pg_sleep(1.5)::text as notes,")
    found = await reservations(served).load(ids, ROOM_BYTES)
    assert found.reservations.keys() == set(ids)


async def test_table_that_is_locked_is_no_row_s_fault(database: Database, served: ServerDatabase) -> None:
    plant(database, "null")
    with psycopg.connect(database.url) as upgrade:
        upgrade.execute("lock table reservations in access exclusive mode")
        loading = asyncio.create_task(reservations(served).load(ids, ROOM_BYTES))
        await until(
            lambda: database.value("select count(*) from pg_locks where not granted") > 0,
            "the load waits for the table",
        )
        upgrade.rollback()
    assert (await loading).reservations.keys() == set(ids)


async def test_payload_at_fault_stays_invalid_until_a_reservation_can_be_loaded(
    database: Database, served: ServerDatabase
) -> None:
    plant(database, TROUBLES["an own class"], for_all=True)
    with pytest.raises(PayloadInvalid) as raised:
        await reservations(served).load(ids, ROOM_BYTES)
    opened = DaemonDatabase(database.bridge_url)
    await opened.open()
    monitor = MappingMonitor(opened)
    monitor.found_invalid(EVERYTHING, raised.value)
    for _ in range(2):
        await monitor.look()
        assert monitor.problem_of(EVERYTHING) == raised.value.problem
    database.execute(
        "create or replace function public.trouble(note text) returns text language plpgsql as "
        "$$ begin if note <> '' then raise exception 'no'; end if; return note; end $$"
    )
    await monitor.look()
    assert monitor.problem_of(EVERYTHING) is None
    await opened.close()


async def test_old_rows_that_fail_do_not_make_the_payload_invalid(database: Database, served: ServerDatabase) -> None:
    plant(database, TROUBLES["an own class"])
    booked = (
        "insert into reservations (id, cust_id, reference, notes) "
        "select %s || n, 'C', 1, %s from generate_series(1, 9) n"
    )
    database.execute(booked, ("A", "old"))
    database.execute(booked, ("Z", ""))
    loaded = await reservations(served).load([BAD], ROOM_BYTES)
    assert loaded.alone_at_fault == {BAD}
