"""kill -9 at random moments under load: nothing is lost, and what is sent twice was in flight.

In flight is what the endpoint had and the delivery log did not when the daemon was dead and all it had sent had
arrived. Of that, requests whose response the daemon had not seen are at most ``max_in_flight``: so many are under way
at once. The rest had their response and waited for the recorder; the daemon's log tells them. After the next start
exactly these are sent again, unless the next kill comes first.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.deaths import left_behind, repeated
from tests.support.figures import Figures
from tests.support.length import chosen
from tests.support.load import Load
from tests.support.receiver import Receiver

KILLS = chosen(6, 100)
LONGEST_LIFE_CALLS = 120
MAX_IN_FLIGHT = 8
SETTINGS = {"CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT": str(MAX_IN_FLIGHT)}


@pytest.mark.timeout(chosen(180, 1200))
async def test_nothing_is_lost_by_random_kills_and_nothing_recorded_is_called_again(
    load: Load, database: Database, receiver: Receiver, bridges: Bridges, figures: Figures
) -> None:
    chance = random.Random(load.seed)
    ever_left_behind = set[int]()
    most = 0
    async with load.running():
        for _ in range(KILLS):
            before = receiver.delivered_count
            bridge = await bridges.start(**SETTINGS, CDC_BRIDGE_BATCH_SIZE=chance.choice(["2", "10", "100"]))
            await load.delivered(chance.randint(0, LONGEST_LIFE_CALLS))
            await bridge.kill()
            left = await left_behind(bridge, database, receiver, before)
            assert len(left.under_way) <= MAX_IN_FLIGHT
            ever_left_behind |= left.changes
            most = max(most, len(left.changes))
    bridge = await bridges.start(**SETTINGS)
    await load.assert_promises_kept()
    assert await bridge.terminate() == 0
    called = Counter(request.seq for request in receiver.delivered)
    assert {seq for seq, times in called.items() if times > 1} <= ever_left_behind
    figures(f"{KILLS} kills; at most {most} in flight at a kill")


@pytest.mark.parametrize("max_in_flight", chosen([16], [1, 16, 64]))
async def test_one_kill_under_full_load_repeats_no_more_than_what_was_in_flight(
    max_in_flight: int, database: Database, receiver: Receiver, bridges: Bridges, figures: Figures
) -> None:
    reservations = 600
    settings = {"CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT": str(max_in_flight)}
    database.execute("insert into customers (id) values ('C')")
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, %s::int) n",
        (reservations,),
    )
    bridge = await bridges.start(**settings)
    await receiver.wait_for_delivered(reservations // 3)
    await bridge.kill()
    left = await left_behind(bridge, database, receiver)
    before = list(receiver.delivered)
    assert len(left.under_way) <= max_in_flight

    await bridges.start(**settings)
    await receiver.wait_for(
        lambda: len({request.seq for request in receiver.delivered}) == reservations, "every change"
    )
    assert repeated(before, receiver.delivered[len(before) :]) == sorted(left.changes)
    figures(f"{left} at the kill; {len(receiver.delivered) - reservations} duplicates")
