"""A mapping that breaks under the daemon, as by an upgrade of e-Res: it is said, and nothing is lost or given up."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from cdc_bridge.demo.ports import free_port
from cdc_bridge.schema.sql_text import sql_folder
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.http import until_told
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


def status(database: Database) -> str:
    text: str = database.value("select concat(status, ': ', reason) from cdc_bridge.endpoint_status")
    return text


async def until_status(database: Database, beginning: str) -> None:
    await until(lambda: status(database).startswith(beginning), f"the endpoint is {beginning}")


async def test_payload_that_fails_for_every_reservation_uses_up_no_schedule(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    await bridges.start()
    book(database, 1, 3)
    await until(lambda: database.value(DELIVERED) == 3, "the first ones are recorded")
    install_mapping(database, "(r.adults::text || ' persons')::integer as adults")
    book(database, 4, 9)
    database.execute("update reservations set adults = 7 where id = 'R1'")
    reason = 'the payload "reservation" fails for each of'
    await until(
        lambda: database.value("select problem like %s from cdc_bridge.endpoint", (f"{reason}%",)) is True,
        "the endpoint's row says why nothing is sent",
    )
    assert len(receiver.delivered) == 3
    assert database.value(FAILURES) == 0
    assert (await standing(bridges)).startswith(f"invalid: {reason}")

    install_mapping(database)
    requests = await receiver.wait_for_delivered(10)
    assert {request.reservation_id for request in requests} == {f"R{number}" for number in range(1, 10)}
    assert [request.json["adults"] for request in requests if request.reservation_id == "R1"][-1] == 7
    await until(lambda: database.value(DELIVERED) == 10, "all are recorded")
    assert database.value(FAILURES) == 0


@dataclass(frozen=True)
class Upgrade:
    """What e-Res does to its tables, and what mends it."""

    statement: str
    problem: str
    mended: str = ""
    """A statement; empty: the mapping is installed anew."""
    adults: str = "r.adults"
    """In the mapping that fits afterwards."""


UPGRADES = {
    "column renamed and back": Upgrade(
        "alter table reservations rename adults to covers",
        "column r.adults does not exist",
        "alter table reservations rename covers to adults",
    ),
    "column renamed for good": Upgrade(
        "alter table reservations rename adults to covers",
        "column r.adults does not exist",
        adults="r.covers as adults",
    ),
    "table dropped and made again": Upgrade(
        "drop table calls cascade",
        'relation "public.calls" does not exist',
        "create table calls (call_id text, restaurant_id text, number text, ext_sid text, provider_sid text); "
        "grant select on calls to cdc_bridge_loader",
    ),
    "right revoked": Upgrade(
        "revoke select on customers from cdc_bridge_loader", "permission denied for table customers"
    ),
    "payload dropped": Upgrade("select cdc_bridge.drop_payload('reservation')", "is not defined"),
}


@pytest.mark.parametrize("name", UPGRADES)
async def test_payload_that_no_longer_fits_makes_the_endpoint_invalid_until_it_fits(
    name: str, database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    upgrade, port = UPGRADES[name], free_port()
    bridge = await bridges.start(CDC_BRIDGE_WEB_PORT=str(port))
    book(database, 1, 2)
    await until(lambda: database.value(DELIVERED) == 2, "the first ones are recorded")
    database.execute(upgrade.statement)
    book(database, 3, 6)

    line = await bridge.wait_for_log("mapping broken")
    assert upgrade.problem in line["problem"]
    line = await bridge.wait_for_log("endpoint invalid")
    assert upgrade.problem in line["problem"]
    await until_status(database, "invalid: the payload")
    assert upgrade.problem in await standing(bridges)
    await until_told(port, 503, "mapping: ", upgrade.problem, "endpoint: default is invalid")
    _, output, _ = await run_command("status", **bridges.settings | {"COLUMNS": "300"})
    assert upgrade.problem in output
    assert len(receiver.delivered) == 2
    assert database.value(FAILURES) == 0

    if upgrade.mended:
        database.execute(upgrade.mended)
    else:
        install_mapping(database, upgrade.adults)
    requests = await receiver.wait_for_delivered(6)
    assert {request.reservation_id for request in requests} == {f"R{number}" for number in range(1, 7)}
    await bridge.wait_for_log("mapping works again")
    await until_status(database, "healthy")
    await until_told(port, 200, "ready")
    await until(lambda: database.value(DELIVERED) == 6, "all are recorded")
    assert database.value(FAILURES) == 0
    assert await bridge.terminate() == 0


async def test_daemon_starts_while_the_payload_does_not_fit_and_recovers_by_itself(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("alter table reservations rename adults to covers")
    book(database, 1, 3)
    bridge = await bridges.start()
    await bridge.wait_for_log("mapping broken")
    await until_status(database, "invalid: the payload")
    code, output, _ = await run_command("check", **bridges.settings)
    assert code == 1
    assert "column r.adults does not exist" in output
    install_mapping(database, "r.covers as adults")
    await receiver.wait_for_delivered(3)
    await until_status(database, "healthy")
    assert await bridge.terminate() == 0


@pytest.mark.slow
async def test_idle_endpoint_is_invalid_within_a_minute_of_what_breaks_it(database: Database, bridges: Bridges) -> None:
    """Nothing is delivered that could fail."""
    bridge = await bridges.start()
    await bridge.until_assigned()
    database.execute("alter table reservations rename adults to covers")
    await until_status(database, "invalid: the payload")
    assert bridge.running


@pytest.mark.slow
async def test_table_that_is_swapped_makes_the_endpoint_invalid_until_capture_is_attached(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    database.execute(
        "create table copied (like reservations including all); alter table reservations rename to before; "
        "alter table copied rename to reservations; grant select on reservations to cdc_bridge_loader"
    )
    assert status(database).startswith("invalid: capture is not attached to table public.reservations")
    line = await bridge.wait_for_log("capture broken")
    assert line["problem"].startswith("table public.reservations is another one than capture was attached to")
    book(database, 1, 2)
    database.execute("select cdc_bridge.attach('public.reservations', 'id')")
    book(database, 3, 3)
    (request,) = await receiver.wait_for_delivered(1)
    assert request.reservation_id == "R3"
    await bridge.wait_for_log("capture works again")
    await until_status(database, "healthy")
    code, output, _ = await run_command("reconcile", "--repair", **bridges.settings)
    assert (code, "Queued: 2 reservations." in output) == (1, True)
    await receiver.wait_for_delivered(3)


async def test_reservation_that_is_not_found_while_the_table_is_swapped_does_not_count_as_deleted(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    await bridges.start()
    book(database, 1, 1)
    await receiver.wait_for_delivered(1)
    database.execute(
        "begin; alter table reservations rename to moved; create table reservations (like moved including all); "
        "grant select on reservations to cdc_bridge_loader; commit"
    )
    # Captured on the table that has another name for a while.
    database.execute("insert into moved (id, cust_id, reference) values ('R2', 'C', 1)")
    database.execute("update moved set adults = 7 where id = 'R1'")
    waiting = "select count(*) from cdc_bridge.delivery where state = 'retrying' and last_error like %s"
    await until(
        lambda: database.value(waiting, ("%it is not found, but capture is not attached to table%",)) == 2, "both wait"
    )
    database.execute("begin; drop table reservations; alter table moved rename to reservations; commit")
    requests = await receiver.wait_for_delivered(3)
    assert {request.reservation_id for request in requests[1:]} == {"R1", "R2"}
    assert [one.json["adults"] for one in requests if one.reservation_id == "R1"][-1] == 7
    # Where changes are captured, it was deleted.
    database.execute("update reservations set adults = 9 where id = 'R1'; delete from reservations where id = 'R1'")
    skipped = "select state from cdc_bridge.delivery where reservation_id = 'R1' order by seq desc limit 1"
    await until(lambda: database.value(skipped) == "skipped", "it is recorded")


@pytest.mark.slow
async def test_child_table_without_capture_makes_the_endpoint_invalid(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    bridge = await bridges.start()
    book(database, 1, 1)
    await receiver.wait_for_delivered(1)
    database.execute("create table child () inherits (reservations)")
    line = await bridge.wait_for_log("capture broken")
    assert "writes to public.child by name" in line["problem"]
    assert await standing(bridges) == "invalid: capture is not attached to table public.child, or is switched off"
    database.execute("create unique index on child (id); select cdc_bridge.attach('reservations', 'id')")
    await bridge.wait_for_log("capture works again")
    database.execute("insert into child (id, cust_id, reference) values ('R2', 'C', 1)")
    requests = await receiver.wait_for_delivered(2)
    assert requests[-1].reservation_id == "R2"
