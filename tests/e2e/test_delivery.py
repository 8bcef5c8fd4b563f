"""The main job, end to end: a committed reservation arrives at the endpoint."""

from __future__ import annotations

import signal

from standardwebhooks import Webhook

from tests.support.bridge import SECRET, Bridges
from tests.support.databases import Database
from tests.support.payloads import replace_in_payload
from tests.support.receiver import Receiver

NEW_CUSTOMER = "insert into customers (id) values ('C1')"
NEW_RESERVATION = "insert into reservations (id, cust_id, reference) values (%s, 'C1', %s)"


async def test_committed_reservation_arrives_with_header_and_signature(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await bridges.start()
    database.execute(NEW_CUSTOMER)
    database.execute(NEW_RESERVATION, ("R1", 1))
    (request,) = await receiver.wait_for_delivered(1)
    assert request.headers["x-api-key"] == "let-me-in"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["ce-type"] == "reservation.created"
    assert request.headers["ce-subject"] == "R1"
    assert Webhook(SECRET).verify(request.body.decode(), dict(request.headers))["id"] == "R1"


async def test_changes_made_while_no_daemon_ran_arrive_when_it_starts(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute(NEW_CUSTOMER)
    database.execute(NEW_RESERVATION, ("R1", 1))
    bridge = await bridges.start()
    await receiver.wait_for_delivered(1)
    assert await bridge.terminate() == 0
    database.execute("update reservations set adults = 7 where id = 'R1'")
    await bridges.start()
    _, second = await receiver.wait_for_delivered(2)
    assert second.headers["ce-type"] == "reservation.updated"
    assert second.json["adults"] == 7


async def test_rolled_back_change_leads_to_no_call(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    await bridges.start()
    async with database.connection() as connection:
        await connection.execute(NEW_CUSTOMER)
        async with connection.transaction(force_rollback=True):
            await connection.execute(NEW_RESERVATION, ("ROLLED-BACK", 1))
        await connection.execute(NEW_RESERVATION, ("R2", 2))
    (request,) = await receiver.wait_for_delivered(1)
    assert request.reservation_id == "R2"


async def test_several_changes_in_one_transaction_are_one_call(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await bridges.start()
    async with database.connection() as connection:
        await connection.execute(NEW_CUSTOMER)
        async with connection.transaction():
            await connection.execute(NEW_RESERVATION, ("R1", 1))
            await connection.execute("update reservations set adults = 3 where id = 'R1'")
            await connection.execute("update reservations set adults = 4 where id = 'R1'")
        await connection.execute(NEW_RESERVATION, ("R2", 2))
    requests = {request.reservation_id: request for request in await receiver.wait_for_delivered(2)}
    assert requests.keys() == {"R1", "R2"}
    assert (requests["R1"].headers["ce-type"], requests["R1"].json["adults"]) == ("reservation.created", 4)


async def test_stop_finishes_what_is_under_way_and_nothing_is_sent_again(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    bridge = await bridges.start()
    database.execute(NEW_CUSTOMER)
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'R' || n, 'C1', n from generate_series(1, 300) n"
    )
    await receiver.wait_for_delivered(5)
    assert await bridge.terminate() == 0
    answered = len(receiver.delivered)
    assert database.value("select count(*) from cdc_bridge.delivery where state = 'delivered'") == answered
    await bridges.start()
    await receiver.wait_for(lambda: len({request.seq for request in receiver.delivered}) == 300, "every change")
    assert len(receiver.delivered) == 300


async def test_interrupt_stops_cleanly_too(bridges: Bridges) -> None:
    bridge = await bridges.start()
    bridge.send(signal.SIGINT)
    assert await bridge.wait() == 0


async def test_user_agent_of_the_endpoints_own_takes_the_place_of_ours(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await bridges.start(CDC_BRIDGE_ENDPOINT_HEADER="User-Agent: the till's own")
    database.execute(NEW_CUSTOMER)
    database.execute(NEW_RESERVATION, ("R1", 1))
    (request,) = await receiver.wait_for_requests(1)  # The receiver refuses a call that has it twice.
    assert [value for name, value in request.headers.items() if name.lower() == "user-agent"] == ["the till's own"]


async def test_payload_is_redefined_under_the_running_daemon(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await bridges.start()
    database.execute(NEW_CUSTOMER)
    for number in range(30):  # So often that each connection of the pool has planned it for good.
        database.execute(NEW_RESERVATION, (f"R{number}", 1))
        await receiver.wait_for_delivered(number + 1)
    replace_in_payload(database, "\nfrom public.reservations r", ",\n  7 as seats\nfrom public.reservations r")
    database.execute(NEW_RESERVATION, ("NEW", 1))
    assert (await receiver.wait_for_delivered(31))[-1].json["seats"] == 7
