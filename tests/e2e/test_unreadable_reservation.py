"""A reservation that cannot be loaded holds up itself alone."""

from __future__ import annotations

from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.payloads import replace_in_payload
from tests.support.receiver import Receiver
from tests.support.waiting import until

STATE = "select state, failures, last_error from cdc_bridge.delivery where reservation_id = 'BAD'"
WORDS_OF_A_GUEST = "a quiet table please"


async def test_others_are_called_and_it_is_tried_again_by_its_schedule(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    replace_in_payload(
        database, "r.adults,", "case when r.notes = '' then r.adults else r.notes::integer end as adults,"
    )
    database.execute("insert into customers (id) values ('C')")
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, 9) n"
    )
    database.execute(
        "insert into reservations (id, cust_id, reference, notes) values ('BAD', 'C', 10, %s)", (WORDS_OF_A_GUEST,)
    )
    bridge = await bridges.start()
    await receiver.wait_for_delivered(9)
    await until(lambda: database.execute(STATE), "it is in the delivery log")
    ((state, failures, error),) = database.execute(STATE)
    assert (state, failures) == ("retrying", 1)
    assert error.startswith("it cannot be loaded: InvalidTextRepresentation, SQLSTATE 22P02")
    assert WORDS_OF_A_GUEST not in error + bridge.text
    line = await bridge.wait_for_log("delivery failed", reservation_id="BAD")
    assert line["reason"] == error

    database.execute("update reservations set notes = '4' where id = 'BAD'")
    requests = await receiver.wait_for_delivered(10)
    assert (requests[-1].reservation_id, requests[-1].json["adults"]) == ("BAD", 4)
    assert await bridge.terminate() == 0
