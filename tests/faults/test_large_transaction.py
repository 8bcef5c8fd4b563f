"""A transaction of very many changed reservations (at length: 200,000): bounded memory, and a kill in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.length import chosen
from tests.support.receiver import Receiver
from tests.support.waiting import until

ROWS = chosen(60_000, 200_000)
KILLED_AFTER_CALLS = ROWS // 5
MEMORY_LIMIT_KIB = 150 * 1024


def peak_memory_kib(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_transaction_of_very_many_reservations_arrives_whole_with_bounded_memory_and_a_kill_in_the_middle(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, %s::int) n",
        (ROWS,),
    )
    called: set[int] = set()
    receiver.keep_requests = False
    receiver.on_delivered = lambda request: called.add(request.seq)
    settings = {"CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT": "64", "CDC_BRIDGE_LOG_LEVEL": "info"}

    bridge = await bridges.start(**settings)
    await receiver.wait_for(lambda: len(called) >= KILLED_AFTER_CALLS, "calls before the kill", patience_seconds=300)
    memory = [peak_memory_kib(bridge.pid)]
    await bridge.kill()
    handed_over = receiver.delivered_count

    bridge = await bridges.start(**settings)
    await receiver.wait_for(lambda: len(called) >= ROWS, "every reservation", patience_seconds=600)
    memory.append(peak_memory_kib(bridge.pid))
    recorded = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
    await until(lambda: database.value(recorded) == ROWS, "every delivery is recorded")
    duplicates = receiver.delivered_count - ROWS
    print(f"peak memory {memory} KiB; killed after {handed_over} calls; {duplicates} duplicates")
    assert max(memory) < MEMORY_LIMIT_KIB
    assert duplicates <= 64 + 500, "more than what was in flight or not yet recorded"
