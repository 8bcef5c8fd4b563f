"""Keys of 120 kB, many in one transaction: they are delivered, and memory is bounded by bytes."""

from __future__ import annotations

import pytest

from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.memory import peak_bytes, resident_bytes
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

NUMBER, LENGTH = 1000, 120_000
PATIENCE = 300.0
"""It takes a minute on an idle machine."""
MOST_BYTES = 90_000_000
"""Keys and bodies of a window, and what Python needs around them; all of them together have 120 MB of keys alone."""
COUNT = "select count(*) from cdc_bridge.delivery where state = '{}'"


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE)
async def test_transaction_of_long_keys_is_delivered_within_a_bound_of_memory(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    receiver.keep_requests = False
    receiver.script = lambda _: Response(503)
    bridge = await bridges.start(CDC_BRIDGE_LOG_LEVEL="info")
    await bridge.until_assigned()
    before = resident_bytes(bridge.pid)
    database.execute("insert into customers (id) values ('C')")
    database.execute(
        "insert into reservations (id, cust_id, reference) select repeat('x', %s) || n, 'C', n "
        "from generate_series(1, %s) n",
        (LENGTH, NUMBER),
    )
    await bridge.wait_for_log("endpoint failing")
    receiver.script = lambda request: Response(422 if request.reservation_id.endswith("7") else 200)
    rejected = NUMBER // 10
    await until(lambda: database.value(COUNT.format("retrying")) == rejected, "some are rejected", PATIENCE)
    await until(
        lambda: database.value(COUNT.format("delivered")) == NUMBER - rejected, "the others are delivered", PATIENCE
    )
    receiver.script = lambda _: Response()
    database.execute("update cdc_bridge.delivery set next_attempt_at = now() where state = 'retrying'")
    database.execute("notify cdc_bridge_endpoint")
    await until(lambda: database.value(COUNT.format("delivered")) == NUMBER, "those are delivered too", PATIENCE)
    assert peak_bytes(bridge.pid) - before < MOST_BYTES
    assert await bridge.terminate() == 0
