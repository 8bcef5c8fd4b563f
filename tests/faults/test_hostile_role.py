"""A role that may do nothing but connect does its worst: no booking fails, and all of them are delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from tests.support.bridge import Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database, create, install_bridge, load_example
from tests.support.receiver import Receiver
from tests.support.server import Server, own_server
from tests.support.waiting import until

BOOKERS, EACH = 4, 60
ROLE = "anybody"
FULL = "select pg_notification_queue_usage()"


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """A database of a server whose notification queue is small."""
    with psycopg.connect(server.url) as connection:
        if connection.info.server_version < 170000:
            pytest.skip("the size of the notification queue can be set since PostgreSQL 17")
    if server.programs is None:
        pytest.skip("needs PostgreSQL's programs on this machine")
    with own_server(server.programs, max_notify_queue_pages="64") as postgres:
        own = Server("embedded", postgres.url, postgres.binaries)
        made = create(own, "eres")
        load_example(made)
        install_bridge(made)
        made.execute("insert into customers (id) values ('C')")
        made.execute(f"create role {ROLE} login password '{ROLE}'")
        yield made


def anybody(database: Database) -> psycopg.Connection:
    return psycopg.connect(database.server.url_for(database.name, user=ROLE, password=ROLE), autocommit=True)


def fill_queue(connection: psycopg.Connection) -> None:
    """Notify until PostgreSQL refuses to."""
    while True:
        connection.execute(
            "select pg_notify('cdc_bridge_change', repeat('x', 7000) || n) from generate_series(1, 20) n"
        )


async def book(database: Database, round_: int) -> None:
    """Book with several sessions; an error of one is an error of the test."""

    async def book_alone(booker: int) -> None:
        async with database.connection() as connection:
            for number in range(EACH):
                await connection.execute(
                    "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)",
                    (f"{round_}-{booker}-{number}",),
                )

    await asyncio.gather(*(book_alone(booker) for booker in range(BOOKERS)))


async def test_no_booking_fails_whatever_a_role_without_rights_does(
    database: Database, receiver: Receiver, bridges: Bridges, certificates: Certificates
) -> None:
    with ExitStack() as held:
        # The lock that a sleeping daemon holds: every commit would notify.
        locker = held.enter_context(anybody(database))
        locker.execute("select pg_advisory_lock(52683, 1), pg_advisory_lock(52683, 0)")
        bridge = await bridges.start()
        await bridge.until_assigned()
        # A session that listens and never ends its transaction keeps the queue from being emptied, and old rows too.
        listener = held.enter_context(anybody(database))
        listener.execute("listen cdc_bridge_change")
        listener.execute("listen cdc_bridge_endpoint")
        listener.execute("begin isolation level repeatable read; select pg_current_xact_id()")
        await book(database, 1)

        # What fills the queue: until a notification is refused.
        filler = held.enter_context(anybody(database))
        with pytest.raises(psycopg.OperationalError, match="too many notifications"):
            fill_queue(filler)
        assert database.value(FULL) > 0.5
        await book(database, 2)

        # Our functions, as far as they may be called at all.
        for (name,) in database.execute(
            "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'cdc_bridge'::regnamespace"
        ):
            function, _, arguments = name.rstrip(")").partition("(")
            nulls = ", ".join(f"null::{argument}" for argument in arguments.split(",") if argument)
            for statement in (f"select {function}({nulls})", f"call {function}({nulls})"):
                with pytest.raises(psycopg.Error) as refused:
                    filler.execute(statement.encode())
                assert refused.value.sqlstate in {"42501", "42809", "0A000"}, (statement, refused.value)
        await book(database, 3)
    await until(
        lambda: database.value("select count(*) from cdc_bridge.delivery") == 3 * BOOKERS * EACH, "all are delivered"
    )
    assert len({request.reservation_id for request in receiver.delivered}) == 3 * BOOKERS * EACH
