"""A mapping that breaks under the daemon, as by an upgrade of e-Res: it is said, and nothing is lost or given up."""

from __future__ import annotations

import json

import pytest

from cdc_bridge.schema.sql_text import sql_folder
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.waiting import until

DELIVERED = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
FAILURES = "select coalesce(sum(failures), 0) from cdc_bridge.delivery"


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


def book(database: Database, first: int, last: int) -> None:
    for number in range(first, last + 1):
        database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (f"R{number}",))


def install_mapping(database: Database, adults: str = "r.adults") -> None:
    mapping = (sql_folder() / "mapping.sql").read_text()
    database.execute(mapping.replace("  r.adults,", f"  {adults},"))


async def standing(bridges: Bridges) -> str:
    _, output, _ = await run_command("endpoint", "list", "--json", **bridges.settings)
    (endpoint,) = json.loads(output)
    return f"{endpoint['status']}: {endpoint['reason']}"


async def test_view_that_can_show_no_reservation_uses_up_no_schedule(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    await bridges.start()
    book(database, 1, 3)
    await until(lambda: database.value(DELIVERED) == 3, "the first ones are recorded")
    install_mapping(database, "(r.adults::text || ' persons')::integer as adults")
    book(database, 4, 9)
    database.execute("update reservations set adults = 7 where id = 'R1'")
    reason = "the payload view fails for it"
    await until(
        lambda: database.value("select problem like %s from cdc_bridge.endpoint", (f"{reason}%",)) is True,
        "the endpoint's row says why nothing is sent",
    )
    assert len(receiver.delivered) == 3
    assert database.value(FAILURES) == 0
    assert (await standing(bridges)).startswith(f"failing: {reason}")

    install_mapping(database)
    requests = await receiver.wait_for_delivered(10)
    assert {request.reservation_id for request in requests} == {f"R{number}" for number in range(1, 10)}
    assert [request.json["adults"] for request in requests if request.reservation_id == "R1"][-1] == 7
    await until(lambda: database.value(DELIVERED) == 10, "all are recorded")
    assert database.value(FAILURES) == 0


async def test_view_that_is_dropped_ends_the_daemon_with_words_and_nothing_is_lost(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    bridge = await bridges.start()
    book(database, 1, 1)
    await receiver.wait_for_delivered(1)
    database.execute("drop view cdc_bridge.reservation_payload")
    book(database, 2, 5)
    assert await bridge.wait() == 1
    assert 'relation "cdc_bridge.reservation_payload" does not exist' in bridge.text
    assert "cdc-bridge check" in bridge.text
    code, output, _ = await run_command("check", **bridges.settings)
    assert code == 1
    assert "the view cdc_bridge.reservation_payload is missing" in output
    assert "cdc-bridge install --mapping FILE" in " ".join(output.split())
    book(database, 6, 6)
    install_mapping(database)
    await bridges.start()
    requests = await receiver.wait_for_delivered(6)
    assert sorted({request.reservation_id for request in requests}) == [f"R{number}" for number in range(1, 7)]
