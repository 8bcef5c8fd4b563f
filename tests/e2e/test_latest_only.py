"""One request for several queued changes of a reservation."""

from __future__ import annotations

import pytest

from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

LATEST_ONLY = {"CDC_BRIDGE_ENDPOINT_LATEST_ONLY": "true"}
RESERVATIONS = 10
ROUNDS = 30
CHANGE_ALL = "update reservations set duration = duration + 1"
UNSETTLED = """
select count(*) from cdc_bridge.change c
where not exists (select from cdc_bridge.delivery d where d.seq = c.seq and d.state not in ('queued', 'retrying'))
"""


@pytest.fixture(autouse=True)
def bookings(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute(
        "insert into reservations (id, cust_id, reference, duration) "
        f"select 'R' || n, 'C', n, 0 from generate_series(1, {RESERVATIONS}) n"
    )


def change_all(database: Database) -> None:
    for _ in range(ROUNDS):
        database.execute(CHANGE_ALL)


@pytest.mark.parametrize("batch_size", ["5", "1000"])
async def test_after_an_outage_each_reservation_is_sent_once_however_often_it_changed(
    batch_size: str, database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    """Also where not all of them fit into memory: with pages of 5, a window holds 15 of 310."""
    receiver.script = lambda _: Response(503)
    # One request at a time, so that none is still under way with an older body when the endpoint recovers.
    settings = LATEST_ONLY | {"CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT": "1"}
    bridge = await bridges.start(**settings, CDC_BRIDGE_BATCH_SIZE=batch_size)
    await bridge.wait_for_log("endpoint failing")
    change_all(database)
    await until(lambda: database.value(UNSETTLED) == RESERVATIONS, "the newest changes supersede all others")
    await receiver.wait_for_requests(len(receiver.requests) + 1)
    receiver.script = lambda _: Response()
    await until(lambda: database.value(UNSETTLED) == 0, "all changes are settled")
    assert sorted(request.reservation_id for request in receiver.delivered) == sorted(
        f"R{number + 1}" for number in range(RESERVATIONS)
    )
    assert {request.json["duration"] for request in receiver.delivered} == {ROUNDS}
    states = dict(database.execute("select state, count(*) from cdc_bridge.delivery group by state"))
    assert states == {"delivered": RESERVATIONS, "superseded": RESERVATIONS * ROUNDS}
    assert await bridge.terminate() == 0


async def test_change_after_the_body_was_loaded_is_a_request_of_its_own(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    def change_in_mid_call(request: object) -> Response:
        if len(receiver.requests) == 0:
            database.execute("update reservations set duration = 7 where id = 'R1'")
        return Response()

    database.execute("delete from reservations where id <> 'R1'")
    receiver.script = change_in_mid_call
    await bridges.start(**LATEST_ONLY)
    await receiver.wait_for_delivered(2)
    assert [request.json["duration"] for request in receiver.delivered if request.reservation_id == "R1"] == [0, 7]


async def test_without_it_every_change_is_a_request(database: Database, bridges: Bridges, receiver: Receiver) -> None:
    change_all(database)
    await bridges.start()
    await receiver.wait_for_delivered(RESERVATIONS * (ROUNDS + 1))
    assert len({request.seq for request in receiver.delivered}) == RESERVATIONS * (ROUNDS + 1)
