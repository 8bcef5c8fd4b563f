"""Loading reservations whose key is of any type."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.errors import InstallationError
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.vendor.contract import column_names
from tests.support.databases import Database
from tests.support.plans import explained


def map_table(database: Database, table: str) -> None:
    """Make the payload view of a table that has nothing but a key."""
    columns = ", ".join('b.id as "id"' if name == "id" else f'null::text as "{name}"' for name in column_names())
    database.execute("drop view cdc_bridge.reservation_payload")
    database.execute(f"create view cdc_bridge.reservation_payload as select {columns} from {table} b")


@pytest.mark.parametrize(
    ("key_type", "keys", "posted_id"),
    [
        ("uuid", "('0f8fad5b-d9cb-469f-a165-' || lpad(n::text, 12, '0'))::uuid", "0F8FAD5BD9CB469FA165000000004711"),
        ("integer", "n", "4711"),
        ("bigint", "n", "4711"),
        ("varchar(32)", "'R' || n", "R4711"),
        ("char(8)", "'R' || n", "R4711   "),
    ],
)
async def test_captured_key_of_any_type_is_loaded_by_its_index(
    key_type: str, keys: str, posted_id: str, database: Database
) -> None:
    database.execute(f"create table public.bookings (id {key_type} primary key)")
    map_table(database, "public.bookings")
    database.execute("select cdc_bridge.attach('public.bookings', 'id')")
    database.execute(f"insert into public.bookings select {keys} from generate_series(1, 20000) n")
    database.execute("analyze public.bookings")
    captured = [id_ for (id_,) in database.execute("select reservation_id from cdc_bridge.change order by seq")]
    wanted = ReservationId(captured[4710])
    async with database.connection() as connection:
        loader = ReservationLoader()
        await loader.load(connection, [wanted])
        plans = await explained(connection, as_daemon=True)
        loaded = await loader.load(connection, [wanted, ReservationId(captured[0])])
    assert loaded.reservations.keys() == {wanted, captured[0]}
    assert loaded.reservations[wanted].subject == posted_id
    assert "Index" in plans[0]
    assert "Seq Scan" not in plans[0]


async def test_reservation_that_is_not_there_is_left_out(database: Database) -> None:
    async with database.connection() as connection:
        loaded = await ReservationLoader().load(connection, [ReservationId("nobody")])
    assert loaded.reservations == {}


async def test_missing_view_is_said_with_what_to_do(database: Database) -> None:
    database.execute("drop view cdc_bridge.reservation_payload")
    async with database.connection() as connection:
        with pytest.raises(InstallationError, match="cdc-bridge install"):
            await ReservationLoader().load(connection, [ReservationId("R")])


_OFTEN = 12  # the statement is prepared by then, and planned for good


async def load_often(loader: ReservationLoader, connection: AsyncConnection[TupleRow]) -> bytes:
    loaded = [await loader.load(connection, [ReservationId("R")]) for _ in range(_OFTEN)]
    (body,) = {found.reservations[ReservationId("R")].body for found in loaded}
    return body


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_view_that_is_replaced_while_the_daemon_runs_is_read_anew(
    database: Database, *, in_transaction: bool
) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    loader = ReservationLoader()
    async with database.connection() as connection:
        before = await load_often(loader, connection)
        map_table(database, "public.reservations")
        async with connection.transaction() if in_transaction else nullcontext():
            after = await load_often(loader, connection)
    assert b'"surname":""' in before
    assert after.startswith(b'{"customer":null,"id":"R","cust_id":""')


async def test_statement_that_loads_is_prepared(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    async with database.connection() as connection:
        await load_often(ReservationLoader(), connection)
        cursor = await connection.execute("select statement from pg_prepared_statements")
        prepared = [statement for (statement,) in await cursor.fetchall()]
    assert any("cdc_bridge.reservation_payload" in statement for statement in prepared)
