"""PostgreSQL has no space left: the daemon waits until there is some, and sends nothing twice."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.full_disk import no_space_for
from tests.support.load import Load
from tests.support.receiver import Receiver

BATCH_SIZE = 10
WINDOW = 3 * BATCH_SIZE


async def test_daemon_waits_while_the_delivery_log_cannot_grow(
    durable_load: Load, durable_database: Database, durable_bridges: Bridges, receiver: Receiver
) -> None:
    with no_space_for("cdc_bridge.delivery", durable_database):
        bridge = await durable_bridges.start(CDC_BRIDGE_BATCH_SIZE=str(BATCH_SIZE))
        async with durable_load.running():
            lost = await bridge.wait_for_log("database lost")
            assert "No space left on device" in lost["problem"]
            await durable_load.committed(20)
        # What cannot be recorded fills the window once, and once more while the first batch is being recorded.
        assert receiver.delivered_count <= 2 * WINDOW
    await bridge.wait_for_log("database back", since=len(bridge.log))
    found = await durable_load.assert_promises_kept()
    assert found.duplicates == 0
    assert await bridge.terminate() == 0


async def test_change_that_cannot_be_captured_is_not_committed_and_leads_to_no_call(
    durable_database: Database, durable_bridges: Bridges, receiver: Receiver
) -> None:
    bridge = await durable_bridges.start()
    durable_database.execute("insert into customers (id) values ('C')")
    booking = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
    with no_space_for("cdc_bridge.change", durable_database), pytest.raises(psycopg.errors.DiskFull):
        durable_database.execute(booking, ("REFUSED",))
    durable_database.execute(booking, ("BOOKED",))
    (request,) = await receiver.wait_for_delivered(1)
    assert request.reservation_id == "BOOKED"
    assert durable_database.execute("select id from reservations") == [("BOOKED",)]
    assert await bridge.terminate() == 0
