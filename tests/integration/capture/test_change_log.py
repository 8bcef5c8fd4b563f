"""Reading the change log from a real PostgreSQL, page by page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc_bridge.capture.change_log import PAGE_BYTES, LoggedChange, Page, known_changes, read_page
from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.model import EndpointId, Operation, Seq, Xid
from tests.support.databases import Database

ENDPOINT = EndpointId(1)
FROM_THE_START = Position(Snapshot(Xid(1), frozenset()))


async def read(database: Database, position: Position, limit: int = 1000) -> Page:
    async with database.connection() as connection:
        return await read_page(connection, position, limit)


async def read_to_the_end(database: Database, limit: int) -> list[str]:
    """Return what is read, in pages, with the position kept as text in between, as the endpoint table keeps it."""
    position, ids, at_end = FROM_THE_START, list[str](), False
    while not at_end:
        page = await read(database, position, limit)
        ids += [logged.change.reservation_id for logged in page.changes]
        at_end = page.at_end
        position = Position(Snapshot.parse(str(page.position.snapshot)), page.position.place)
    assert (await read(database, position, limit)).changes == ()
    return ids


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


def book(database: Database, first: int, last: int) -> None:
    database.execute(
        "insert into reservations (id, cust_id, reference) "
        "select 'R' || n, 'C', n from generate_series(%s::int, %s::int) n",
        (first, last),
    )


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
async def test_pages_of_any_size_give_every_change_once(limit: int, database: Database) -> None:
    for first in range(1, 30, 3):
        book(database, first, first + 2)
    assert await read_to_the_end(database, limit) == [f"R{number}" for number in range(1, 31)]


async def test_page_ends_inside_a_transaction_only_if_that_has_more_changes(database: Database) -> None:
    for first in (1, 4):
        book(database, first, first + 2)
    page = await read(database, FROM_THE_START, 2)
    assert page.position.place is not None
    page = await read(database, page.position, 1)
    assert (page.position.place, page.at_end) == (None, False)
    page = await read(database, page.position, 3)
    assert [logged.change.reservation_id for logged in page.changes] == ["R4", "R5", "R6"]
    assert (page.position.place, page.at_end) == (None, True)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
async def test_reservation_changed_often_in_one_transaction_is_one_change_whatever_the_page(
    limit: int, database: Database
) -> None:
    async with database.connection(autocommit=False) as connection:
        await connection.execute(
            "insert into reservations (id, cust_id, reference) values ('A', 'C', 1), ('B', 'C', 2)"
        )
        for _ in range(3):
            await connection.execute("update reservations set adults = adults + 1 where id in ('A', 'B')")
        await connection.execute("update reservations set notes = 'x' where id = 'A'")
        await connection.commit()
    assert sorted(await read_to_the_end(database, limit)) == ["A", "B"]


async def test_insert_and_update_in_one_transaction_is_created(database: Database) -> None:
    async with database.connection(autocommit=False) as connection:
        await connection.execute("insert into reservations (id, cust_id, reference) values ('A', 'C', 1)")
        await connection.execute("update reservations set adults = 5 where id = 'A'")
        await connection.commit()
    (logged,) = (await read(database, FROM_THE_START)).changes
    assert logged.change.operation is Operation.CREATED


async def test_transaction_that_commits_late_is_read_though_others_were_read_before(database: Database) -> None:
    async with database.connection(autocommit=False) as late:
        await late.execute("insert into reservations (id, cust_id, reference) values ('LATE', 'C', 1)")
        book(database, 1, 5)
        first = await read(database, FROM_THE_START)
        assert [logged.change.reservation_id for logged in first.changes] == ["R1", "R2", "R3", "R4", "R5"]
        await late.commit()
    second = await read(database, first.position)
    assert [logged.change.reservation_id for logged in second.changes] == ["LATE"]
    assert (await read(database, second.position)).changes == ()


async def test_large_transaction_that_commits_late_is_read_in_pages(database: Database) -> None:
    async with database.connection(autocommit=False) as late:
        await late.execute(
            "insert into reservations (id, cust_id, reference) select 'L' || n, 'C', n from generate_series(1, 50) n"
        )
        book(database, 1, 5)
        position = (await read(database, FROM_THE_START)).position
        await late.commit()
    book(database, 6, 10)
    ids, at_end = list[str](), False
    while not at_end:
        page = await read(database, position, limit=7)
        ids += [logged.change.reservation_id for logged in page.changes]
        position, at_end = page.position, page.at_end
    expected = [f"L{number}" for number in range(1, 51)] + [f"R{number}" for number in range(6, 11)]
    assert sorted(ids) == sorted(expected)


async def test_changes_of_one_reservation_come_by_seq_though_the_later_transaction_has_the_lower_id(
    database: Database,
) -> None:
    book(database, 1, 2)
    position = (await read(database, FROM_THE_START)).position
    async with database.connection(autocommit=False) as early:
        await early.execute("update reservations set notes = 'early' where id = 'R2'")
        database.execute("update reservations set notes = 'between' where id = 'R1'")
        await early.execute("update reservations set notes = 'early too' where id = 'R1'")
        await early.commit()
    changes = [
        logged.change for logged in (await read(database, position)).changes if logged.change.reservation_id == "R1"
    ]
    assert len(changes) == 2
    assert changes[0].seq < changes[1].seq


async def test_change_that_is_older_than_a_delivered_one_is_overtaken(database: Database) -> None:
    book(database, 1, 1)
    position = (await read(database, FROM_THE_START)).position
    database.execute("update reservations set adults = 3 where id = 'R1'")
    (logged,) = (await read(database, position)).changes
    assert await known(database, logged) == (False, False)
    database.execute(
        "insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, "
        "failures) values (1, %s, 'R1', 'U', now(), 'delivered', 1, 0)",
        (logged.change.seq + 1,),
    )
    assert await known(database, logged) == (False, True)
    assert await known(database, replace(logged, change=replace(logged.change, seq=Seq(logged.change.seq + 1)))) == (
        True,
        False,
    )


async def known(database: Database, logged: LoggedChange) -> tuple[bool, bool]:
    """Return whether the delivery log of one endpoint has a change or a newer one; that of another has nothing."""
    async with database.connection() as connection:
        found = await known_changes(connection, {EndpointId(2): [logged], ENDPOINT: [logged]})
    ((of_other,), (of_it,)) = found[EndpointId(2)], found[ENDPOINT]
    assert (of_other.recorded, of_other.overtaken) == (False, False)
    return of_it.recorded, of_it.overtaken


async def test_pages_of_long_keys_are_short_and_every_change_is_in_one(database: Database) -> None:
    database.execute(
        "insert into reservations (id, cust_id, reference) "
        "select repeat('x', case n % 25 when 0 then 200000 else 60000 end) || n, 'C', n from generate_series(1, 50) n"
    )
    book(database, 1, 5)
    position, ids, sizes, at_end = FROM_THE_START, list[str](), list[int](), False
    while not at_end:
        page = await read(database, position)
        ids += [logged.change.reservation_id for logged in page.changes]
        sizes.append(sum(logged.change.key_bytes for logged in page.changes))
        position, at_end = page.position, page.at_end
    assert len(ids) == len(set(ids)) == 55
    assert ids[50:] == [f"R{number}" for number in range(1, 6)]
    assert all(PAGE_BYTES <= size < PAGE_BYTES + 200_010 for size in sizes[:-1])
    assert len(sizes) == 4


async def test_key_longer_than_a_page_is_a_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_bridge.capture.change_log.PAGE_BYTES", 10)
    database.execute(
        "insert into reservations (id, cust_id, reference) "
        "select repeat('\u4e00', n) || n, 'C', n from generate_series(1, 9) n"
    )
    assert [len(one) for one in await read_to_the_end(database, 1000)] == list(range(2, 11))
    page = await read(database, FROM_THE_START)
    assert [logged.change.key_bytes for logged in page.changes] == [4, 7]
