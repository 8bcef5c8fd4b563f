"""Anybody may notify, with 8 kB each: the daemon keeps none of it, and goes on."""

from __future__ import annotations

import psycopg

from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.memory import peak_bytes
from tests.support.receiver import Receiver

MIB = 1024 * 1024
NOTIFICATIONS = 25_000
FLOOD = "select count(pg_notify(%s, n || repeat('a', 7900))) from generate_series(1, %s) n"


async def test_flood_of_notifications_takes_no_memory_and_delays_no_booking_for_good(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R0', 'C', 1)")
    await receiver.wait_for_delivered(1)
    before = peak_bytes(bridge.pid)
    for number, channel in enumerate(("cdc_bridge_change", "cdc_bridge_endpoint"), start=1):
        with psycopg.connect(database.url) as connection:
            connection.execute(FLOOD, (channel, NOTIFICATIONS))
        database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (f"R{number}",))
        await receiver.wait_for_delivered(1 + number)
    assert peak_bytes(bridge.pid) - before < 40 * MIB
    assert await bridge.terminate() == 0
