"""The endpoint is away for six hours, in time-lapse, while a backlog grows that is larger than the window in memory."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.time_lapse import PROBES_IN_SIX_HOURS
from tests.support.audit import wait_until_settled
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.figures import Figures
from tests.support.length import chosen
from tests.support.load import Load
from tests.support.receiver import Receiver
from tests.support.responses import Response

BATCH_SIZE = 50
RESERVATIONS = chosen(400, 2500)
"""The changes are more than ten times what fits into memory."""
CHANGES_EACH = 4
BOOK = (
    "insert into reservations (id, cust_id, reference, duration) "
    f"select 'B' || n, 'C', n, 1 from generate_series(1, {RESERVATIONS}) n"
)
CHANGE = "update reservations set duration = duration + 1 where id like 'B%'"
STEPS_USED = "select count(*) from cdc_bridge.delivery where failures > 0 or next_attempt_at is not null"
RECORDED = "select count(*) from cdc_bridge.delivery"


@pytest.mark.slow
@pytest.mark.timeout(chosen(180, 600))
async def test_backlog_of_six_hours_drains_in_order_and_has_used_no_schedule(
    load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(503)
    bridge = await bridges.start("tests.faults.time_lapse", CDC_BRIDGE_BATCH_SIZE=str(BATCH_SIZE))
    async with load.running():
        load.commit(BOOK)
        for _ in range(1, CHANGES_EACH):
            load.commit(CHANGE)
        await receiver.wait_for_requests(PROBES_IN_SIX_HOURS, patience_seconds=120)
        assert database.value(RECORDED) == 0
        receiver.script = lambda _: Response()
    found = await load.assert_promises_kept()
    assert (found.duplicates, database.value(STEPS_USED)) == (0, 0)
    assert await bridge.terminate() == 0


@pytest.mark.slow
@pytest.mark.timeout(chosen(180, 600))
async def test_backlog_of_an_endpoint_that_wants_the_latest_only_is_one_call_for_each_reservation(
    database: Database, receiver: Receiver, bridges: Bridges, figures: Figures
) -> None:
    receiver.script = lambda _: Response(503)
    # Changes are combined in memory: a window of three pages has room for every reservation, and not for every change.
    settings = {"CDC_BRIDGE_BATCH_SIZE": str(RESERVATIONS // 2), "CDC_BRIDGE_ENDPOINT_LATEST_ONLY": "true"}
    bridge = await bridges.start("tests.faults.time_lapse", **settings)
    database.execute("insert into customers (id) values ('C')")
    database.execute(BOOK)
    for _ in range(1, CHANGES_EACH):
        database.execute(CHANGE)
    await receiver.wait_for_requests(PROBES_IN_SIX_HOURS, patience_seconds=120)
    receiver.script = lambda _: Response()
    await wait_until_settled(database)
    requests = Counter(request.reservation_id for request in receiver.delivered)
    figures(f"{RESERVATIONS * CHANGES_EACH} changes of {RESERVATIONS} reservations became {requests.total()} calls")
    assert requests == Counter(f"B{number + 1}" for number in range(RESERVATIONS))
    assert {request.json["duration"] for request in receiver.delivered} == {CHANGES_EACH}
    assert database.value(STEPS_USED) == 0
    assert await bridge.terminate() == 0
