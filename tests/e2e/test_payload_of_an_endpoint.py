"""Endpoints with payloads and conditions of their own, under a running daemon."""

from __future__ import annotations

import json

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.payloads import define_payload
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.waiting import until

pytestmark = pytest.mark.departs_from_contract("payloads with a part of the columns")

KITCHEN = 'select r.id, r.adults, r.room_name as "@room" from {reservation} r'
STATUS = "select status from cdc_bridge.endpoint_status where name = %s"
REASON = "select reason from cdc_bridge.endpoint_status where name = %s"
FAILURES = "select coalesce(sum(failures), 0) from cdc_bridge.delivery"
BUSY = "select count(*) from cdc_bridge.endpoint_status where unread > 0 or pending > 0"
ROWS = "select count(*) from cdc_bridge.delivery d join cdc_bridge.endpoint e using (endpoint_id) where e.name = %s"


def book(database: Database, id_: str, room: str = "Bar", adults: int = 2) -> None:
    database.execute("insert into customers (id, email) values ('C', 'guest@example.org') on conflict do nothing")
    database.execute(
        "insert into reservations (id, cust_id, reference, room_name, adults) values (%s, 'C', 1, %s, %s)",
        (id_, room, adults),
    )


class Endpoints:
    """Adds endpoints at the test's receiver, each at a path of its name."""

    def __init__(self, commands: EndpointCommands, receiver: Receiver, ca_file: str, database: Database) -> None:
        self.commands = commands
        self.receiver = receiver
        self._ca_file = ca_file
        self._database = database

    async def add(self, name: str, *options: str) -> str:
        url = f"{self.receiver.url}/{name}"
        told = await self.commands.run("add", name, url, "--ca-file", self._ca_file, "--unsigned", *options)
        await self.until_status(name, "healthy")
        return told

    async def until_status(self, name: str, status: str) -> None:
        await until(lambda: self._database.value(STATUS, (name,)) == status, f"{name} is {status}")

    async def settled(self) -> None:
        await until(lambda: self._database.value(BUSY) == 0, "everything is settled")

    def sent_to(self, name: str) -> list[ReceivedRequest]:
        return [request for request in self.receiver.requests if request.path.endswith(f"/{name}")]

    def bodies_of(self, name: str) -> list[dict[str, object]]:
        return [request.json for request in self.sent_to(name)]


@pytest.fixture
async def endpoints(
    database: Database, endpoint: EndpointCommands, receiver: Receiver, certificates: Certificates, bridges: Bridges
) -> Endpoints:
    define_payload(database, KITCHEN, "kitchen")
    await (await bridges.start()).until_assigned()
    return Endpoints(endpoint, receiver, str(certificates.ca_file), database)


async def test_endpoint_gets_its_payload_and_no_more(endpoints: Endpoints, database: Database) -> None:
    await endpoints.add("kitchen", "--payload", "kitchen", "--only", "@room=Bar,Terrace")
    book(database, "A", "Bar", 3)
    book(database, "B", "Restaurant")
    await endpoints.settled()
    assert endpoints.bodies_of("kitchen") == [{"id": "A", "adults": 3}]
    assert len(endpoints.sent_to("reservations")) == 2  # that of the settings
    assert database.value(ROWS, ("kitchen",)) == 1
    shown = await endpoints.commands.json("show", "kitchen")
    # What the conditions leave out is no delivery of it, and costs it nothing.
    assert shown["skipped"] == {"deleted": 0, "filtered": 0, "event": 0, "unchanged": 0}


BREAKS = {
    "payload dropped": (None, 'the payload "kitchen" is not defined'),
    "column of a condition gone": (
        "select r.id, r.adults from {reservation} r",
        'payload "kitchen" has no column "@room"',
    ),
    "type of the column changed": (
        'select r.id, r.adults, r.reference as "@room" from {reservation} r',
        'column "@room" of payload "kitchen" cannot have such a value',
    ),
    "fails for every row": (
        "select r.id, (r.adults || 'x')::integer as adults, r.room_name as \"@room\" from {reservation} r",
        'the payload "kitchen" fails for each of',
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BREAKS)
async def test_payload_that_breaks_stops_its_endpoints_alone_and_loses_nothing(
    name: str, endpoints: Endpoints, database: Database, bridges: Bridges
) -> None:
    query, problem = BREAKS[name]
    await endpoints.add("kitchen", "--payload", "kitchen", "--only", "@room=Bar")
    book(database, "BEFORE")
    await endpoints.settled()
    if query is None:
        database.execute("select cdc_bridge.drop_payload('kitchen')")
    else:
        define_payload(database, query, "kitchen")
    for number in range(5):
        book(database, f"R{number}")
    await endpoints.until_status("kitchen", "invalid")
    assert problem in database.value(REASON, ("kitchen",))
    assert database.value(STATUS, ("default",)) == "healthy"
    default = endpoints.sent_to("reservations")
    await endpoints.receiver.wait_for(lambda: len(endpoints.sent_to("reservations")) == 6, "the other endpoint has all")
    assert len(default) <= 6
    assert len(endpoints.sent_to("kitchen")) == 1
    code, output, _ = await run_command("check", "--json", **bridges.settings)
    assert code == 1
    failed = [check for check in json.loads(output)["checks"] if check["verdict"] == "failed"]
    assert any("kitchen" in check["detail"] for check in failed), failed

    define_payload(database, KITCHEN, "kitchen")
    await endpoints.settled()
    assert {body["id"] for body in endpoints.bodies_of("kitchen")} == {"BEFORE", *(f"R{number}" for number in range(5))}
    assert database.value(FAILURES) == 0


@pytest.mark.slow
async def test_idle_endpoint_whose_condition_no_longer_fits_is_invalid_soon(
    endpoints: Endpoints, database: Database
) -> None:
    await endpoints.add("kitchen", "--payload", "kitchen", "--only", "@room=Bar")
    define_payload(database, "select r.id, r.adults from {reservation} r", "kitchen")
    await endpoints.until_status("kitchen", "invalid")
    define_payload(database, KITCHEN, "kitchen")
    await endpoints.until_status("kitchen", "healthy")


async def test_body_is_sent_only_when_it_differs_from_what_was_delivered(
    endpoints: Endpoints, database: Database
) -> None:
    await endpoints.add("kitchen", "--payload", "kitchen", "--skip-unchanged")
    book(database, "R", adults=2)
    await endpoints.settled()
    for statement in ("notes = 'x'", "adults = 3", "notes = 'y'", "adults = 3", "adults = 2"):
        database.execute(f"update reservations set {statement}")
        await endpoints.settled()
    assert [body["adults"] for body in endpoints.bodies_of("kitchen")] == [2, 3, 2]
    assert (await endpoints.commands.json("show", "kitchen"))["skipped"]["unchanged"] == 3


async def test_endpoint_gets_the_events_that_it_is_for(endpoints: Endpoints, database: Database) -> None:
    await endpoints.add("new", "--events", "created")
    await endpoints.add("changed", "--events", "updated")
    book(database, "R")
    await endpoints.settled()
    database.execute("update reservations set adults = 9")
    await endpoints.settled()
    types = {name: [request.headers["ce-type"] for request in endpoints.sent_to(name)] for name in ("new", "changed")}
    assert types == {"new": ["reservation.created"], "changed": ["reservation.updated"]}


async def test_backfill_sends_what_the_endpoint_gets(
    endpoints: Endpoints, database: Database, bridges: Bridges
) -> None:
    for number in range(6):
        book(database, f"R{number}", "Bar" if number % 2 else "Terrace")
    await endpoints.add("bar", "--only", "room_name=Bar", "--events", "created")
    code, output, errors = await run_command("backfill", "bar", "--dry-run", **bridges.settings)
    assert (code, "3 reservations of 3" in output) == (0, True), output + errors
    code, output, errors = await run_command("backfill", "bar", "--wait", **bridges.settings)
    assert code == 0, output + errors
    assert sorted(str(body["id"]) for body in endpoints.bodies_of("bar")) == ["R1", "R3", "R5"]
    assert {request.headers["ce-type"] for request in endpoints.sent_to("bar")} == {"reservation.created"}

    told = await endpoints.commands.run("set", "bar", "--only", "room_name=Bar,Terrace")
    assert "cdc-bridge backfill bar" in told
    code, output, _ = await run_command("backfill", "bar", "--wait", **bridges.settings)
    assert code == 0
    assert len(endpoints.sent_to("bar")) == 6
    code, output, _ = await run_command(
        "reconcile", "--endpoint", "bar", "--since", "2000-01-01", "--json", **bridges.settings
    )
    (compared,) = json.loads(output)["endpoints"]
    assert (code, compared["in_sync"], compared["missing"]) == (0, 6, 0)


async def test_reservation_that_left_the_filter_and_comes_back_is_sent_again_if_it_is_another_then(
    endpoints: Endpoints, database: Database
) -> None:
    await endpoints.add("bar", "--only", "room_name=Bar")
    book(database, "R", "Bar")
    await endpoints.settled()
    for room in ("Terrace", "Bar"):
        database.execute("update reservations set room_name = %s", (room,))
        await endpoints.settled()
    assert len(endpoints.sent_to("bar")) == 2


async def test_retry_and_replay_by_hand_are_sent_though_unchanged(
    endpoints: Endpoints, database: Database, bridges: Bridges
) -> None:
    await endpoints.add("kitchen", "--payload", "kitchen", "--skip-unchanged")
    book(database, "R")
    await endpoints.settled()
    database.execute("update reservations set notes = 'x'")
    await endpoints.settled()
    code, output, errors = await run_command(
        "replay", "--endpoint", "kitchen", "--state", "delivered", **bridges.settings
    )
    assert code == 0, output + errors
    await endpoints.settled()
    assert len(endpoints.sent_to("kitchen")) == 2
