"""A delivery that was not recorded when the daemon died is not followed by an older one."""

from __future__ import annotations

import asyncio

from tests.faults.crash_points import NUMBER_VARIABLE, POINT_VARIABLE
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

OTHERS = 30
CRASH = {POINT_VARIABLE: "before deliveries are recorded", NUMBER_VARIABLE: "1"}
WAITING = "select count(*) from cdc_bridge.delivery where state in ('queued', 'retrying')"
SCHEDULED = "update cdc_bridge.delivery set next_attempt_at = now() + {} * interval '1 hour'"


async def test_older_delivery_that_is_due_waits_for_the_newer_change_that_was_called_before_the_death(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(422)
    bridge = await bridges.start()
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 0)")
    await until(lambda: database.value(WAITING) == 1, "the first attempt is rejected and recorded")
    await bridge.terminate()
    database.execute(SCHEDULED.format(1))

    # Of what is changed now the dying daemon gets to know one response alone, that to the newer change of R.
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'O' || n, 'C', n from generate_series(1, %s::int) n",
        (OTHERS,),
    )
    database.execute("update reservations set adults = 9 where id = 'R'")
    never = asyncio.Event()
    receiver.script = lambda request: Response() if request.reservation_id == "R" else Response(503, after=never)
    dying = bridges.make("tests.faults.crash_points", **CRASH, CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT="100")
    await dying.start()
    await dying.wait()
    assert [request.seq for request in receiver.delivered] == [OTHERS + 2]

    database.execute(SCHEDULED.format(0))
    receiver.script = lambda _: Response()
    await bridges.start(CDC_BRIDGE_BATCH_SIZE="1")  # so that it reads long until it finds the newer change
    await receiver.wait_for(
        lambda: len({request.reservation_id for request in receiver.delivered}) == OTHERS + 1, "every reservation"
    )
    await until(lambda: database.value(WAITING) == 0, "all is settled")
    assert [request.seq for request in receiver.delivered if request.reservation_id == "R"] == [OTHERS + 2, OTHERS + 2]
