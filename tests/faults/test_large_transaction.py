"""A transaction of very many changed reservations (at length: 200,000): bounded memory, and a kill in the middle."""

from __future__ import annotations

from functools import partial
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


async def until_called(receiver: Receiver, called: set[int], goal: int) -> None:
    """Wait as long as more and more arrives: a slow machine takes minutes."""
    while len(called) < goal:
        some_more = min(goal, len(called) + ROWS // 100)
        await receiver.wait_for(partial(_has, called, some_more), f"{some_more} of {goal} reservations")


def _has(called: set[int], number: int) -> bool:
    return len(called) >= number


@pytest.mark.slow
@pytest.mark.timeout(chosen(900, 3600))
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
    await until_called(receiver, called, KILLED_AFTER_CALLS)
    memory = [peak_memory_kib(bridge.pid)]
    await bridge.kill()
    handed_over = receiver.delivered_count

    bridge = await bridges.start(**settings)
    await until_called(receiver, called, ROWS)
    memory.append(peak_memory_kib(bridge.pid))
    recorded = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
    await until(lambda: database.value(recorded) == ROWS, "every delivery is recorded")
    duplicates = receiver.delivered_count - ROWS
    print(f"peak memory {memory} KiB; killed after {handed_over} calls; {duplicates} duplicates")
    assert max(memory) < MEMORY_LIMIT_KIB
    assert duplicates <= 64 + 500, "more than what was in flight or not yet recorded"
