"""What somebody changes about endpoints while the daemon runs: it is taken up, and no change is lost over it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from shutil import copy

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.bridge import Bridge, Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands, add_endpoint
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Response
from tests.support.waiting import until

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
HELD = "select count(*) from cdc_bridge.endpoint where name = %s and daemon_id is not null"


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


@pytest.fixture
async def bridge(bridges: Bridges) -> Bridge:
    """A daemon whose settings declare no endpoint."""
    for name in list(bridges.settings):
        if name.startswith("CDC_BRIDGE_ENDPOINT_"):
            del bridges.settings[name]
    return await bridges.start()


class Till:
    """The endpoint ``till`` at the test's receiver, added while the daemon runs."""

    def __init__(self, database: Database, commands: EndpointCommands, receiver: Receiver, ca_file: str) -> None:
        self._database = database
        self._commands = commands
        self._receiver = receiver
        self.ca_file = ca_file

    async def add(self, name: str = "till", *options: str, receiver: Receiver | None = None) -> str:
        """Add an endpoint and wait until the daemon has it; return its secret."""
        url = (receiver or self._receiver).url
        added = await self._commands.json("add", name, url, "--ca-file", self.ca_file, *options)
        await self.held(name)
        return str(added["secret"])

    async def held(self, name: str = "till") -> None:
        await until(lambda: self._database.value(HELD, (name,)) == 1, f"the daemon has {name}")

    async def let_go(self, name: str = "till") -> None:
        await until(lambda: self._database.value(HELD, (name,)) == 0, f"the daemon has let go of {name}")

    async def rotate(self, *options: str) -> str:
        """Change the secret; return it."""
        return str((await self._commands.json("rotate-secret", "till", *options))["secret"])

    async def state(self, name: str = "till") -> str:
        return str((await self._commands.json("show", name))["status"])


@pytest.fixture
def till(database: Database, endpoint: EndpointCommands, receiver: Receiver, certificates: Certificates) -> Till:
    return Till(database, endpoint, receiver, str(certificates.ca_file))


def ids(requests: list[ReceivedRequest]) -> list[str]:
    return [request.reservation_id for request in requests]


def verifies(request: ReceivedRequest, secret: str) -> bool:
    try:
        Webhook(secret).verify(request.body.decode(), dict(request.headers))
    except WebhookVerificationError:
        return False
    return True


async def test_added_endpoint_gets_what_is_committed_from_then_on(
    database: Database, bridge: Bridge, till: Till, receiver: Receiver, endpoint: EndpointCommands
) -> None:
    database.execute(BOOKING, ("BEFORE",))
    secret = await till.add("till", "--header", "x-till: 7")
    database.execute(BOOKING, ("AFTER",))
    (request,) = await receiver.wait_for_delivered(1)
    assert request.reservation_id == "AFTER"
    assert request.headers["x-till"] == "7"
    assert verifies(request, secret)
    (listed,) = await endpoint.json("list")
    assert listed["status"] == "healthy"
    assert listed["daemon"].endswith(f":{bridge.pid}")
    delivered = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
    await until(lambda: database.value(delivered) == 1, "it is recorded")
    assert (await endpoint.json("show", "till"))["delivered_24h"] == {"number": 1, "exact": True}


async def test_endpoint_added_from_the_oldest_change_gets_them_all(
    database: Database, bridge: Bridge, till: Till, receiver: Receiver
) -> None:
    database.execute(BOOKING, ("BEFORE",))
    await till.add("till", "--start", "oldest")
    database.execute(BOOKING, ("AFTER",))
    assert sorted(ids(await receiver.wait_for_delivered(2))) == ["AFTER", "BEFORE"]


async def test_next_call_goes_where_and_as_it_was_set(
    database: Database,
    bridge: Bridge,
    till: Till,
    receiver: Receiver,
    other: Receiver,
    endpoint: EndpointCommands,
) -> None:
    await till.add("till", "--header", "x-old: 1")
    database.execute(BOOKING, ("FIRST",))
    await receiver.wait_for_delivered(1)
    before = bridge.assignments()
    await endpoint.run("set", "till", "--url", other.url, "--header", "x-new: 2", "--keep-headers")
    await bridge.until_assigned("till", after=before)
    database.execute(BOOKING, ("SECOND",))
    (request,) = await other.wait_for_delivered(1)
    assert request.reservation_id == "SECOND"
    assert request.headers["x-new"] == "2"
    assert "x-old" not in request.headers
    assert ids(receiver.requests) == ["FIRST"]


async def test_endpoint_that_cannot_be_called_says_why_and_works_once_that_is_mended(
    database: Database, bridge: Bridge, till: Till, receiver: Receiver, endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "till", receiver.url, "--ca-file", "/of/another/machine.pem")
    await bridge.wait_for_log("endpoint invalid", endpoint="till")
    problem = "select problem from cdc_bridge.endpoint"
    await until(lambda: database.value(problem) is not None, "its problem is noted")
    assert "invalid: ca_file names /of/another/machine.pem" in await endpoint.run("show", "till")
    database.execute(BOOKING, ("MEANWHILE",))
    await endpoint.run("set", "till", "--ca-file", till.ca_file)
    assert ids(await receiver.wait_for_delivered(1)) == ["MEANWHILE"]
    assert await till.state() == "healthy"


async def test_paused_endpoint_is_not_called_and_gets_all_of_it_later(
    database: Database,
    bridge: Bridge,
    till: Till,
    receiver: Receiver,
    other: Receiver,
    endpoint: EndpointCommands,
) -> None:
    await till.add()
    await till.add("other", receiver=other)
    await endpoint.run("pause", "till")
    await till.let_go()
    database.execute(BOOKING, ("R",))
    for adults in (1, 2, 3):
        database.execute("update reservations set adults = %s where id = 'R'", (adults,))
    assert len(await other.wait_for_delivered(4)) == 4  # costs the other one nothing
    assert receiver.requests == []
    shown = await endpoint.json("show", "till")
    assert (shown["status"], shown["backlog"]["number"]) == ("paused", 4)
    await endpoint.run("resume", "till")
    requests = await receiver.wait_for_delivered(4)
    assert [request.seq for request in requests] == sorted(request.seq for request in requests)
    assert requests[-1].json["adults"] == 3


async def test_failing_endpoint_says_so_and_costs_the_other_nothing(
    database: Database, bridge: Bridge, till: Till, receiver: Receiver, other: Receiver, endpoint: EndpointCommands
) -> None:
    receiver.script = lambda _: Response(503)
    await till.add()
    await till.add("other", receiver=other)
    for number in range(5):
        database.execute(BOOKING, (f"R{number}",))
    await other.wait_for_delivered(5)
    failing = "select failing_since is not null from cdc_bridge.endpoint where name = 'till'"
    await until(lambda: bool(database.value(failing)), "it backs off")
    listed = {found["name"]: found for found in await endpoint.json("list")}
    assert listed["other"]["status"] == "healthy"
    assert listed["till"]["status"] == "failing"
    assert listed["till"]["reason"] == "HTTP 503 Service Unavailable"
    assert listed["till"]["since"] <= listed["till"]["next_probe_at"]
    assert "HTTP 503" in await endpoint.run("list")
    assert "failing since" in await endpoint.run("show", "till")
    receiver.script = lambda _: Response()
    await receiver.wait_for_delivered(5)


async def test_removed_endpoint_is_called_no_more(
    database: Database, bridge: Bridge, till: Till, receiver: Receiver, other: Receiver, endpoint: EndpointCommands
) -> None:
    await till.add()
    await till.add("other", receiver=other)
    answering = asyncio.Event()
    receiver.script = lambda _: Response(after=answering)
    database.execute(BOOKING, ("UNDER-WAY",))
    await receiver.wait_for_requests(1)
    told = await endpoint.run("remove", "till", "--yes")
    assert "Changes not sent to it yet: 1." in told
    await bridge.wait_for_log("endpoint removed", endpoint="till")
    answering.set()
    database.execute(BOOKING, ("AFTER",))
    assert sorted(ids(await other.wait_for_delivered(2))) == ["AFTER", "UNDER-WAY"]
    assert ids(receiver.requests) == ["UNDER-WAY"]
    assert bridge.running


async def test_endpoint_of_the_same_name_made_anew_begins_anew(
    database: Database, bridge: Bridge, till: Till, receiver: Receiver, endpoint: EndpointCommands
) -> None:
    await till.add()
    database.execute(BOOKING, ("FIRST",))
    await receiver.wait_for_delivered(1)
    await endpoint.run("remove", "till", "--yes")
    secret = await till.add()
    database.execute(BOOKING, ("SECOND",))
    requests = await receiver.wait_for_delivered(2)
    assert ids(requests) == ["FIRST", "SECOND"]
    assert verifies(requests[1], secret)


async def test_rotation_signs_with_both_secrets_and_then_with_the_new_one(
    database: Database, bridge: Bridge, till: Till, receiver: Receiver
) -> None:
    old = await till.add()
    before = bridge.assignments()
    new = await till.rotate()
    await bridge.until_assigned("till", after=before)
    database.execute(BOOKING, ("DURING",))
    (request,) = await receiver.wait_for_delivered(1)
    assert request.headers["webhook-signature"].count("v1,") == 2
    assert verifies(request, old)
    assert verifies(request, new)

    before = bridge.assignments()
    database.execute("update cdc_bridge.endpoint set previous_secret_until = now() - interval '1 second'")
    await bridge.until_assigned("till", after=before)
    database.execute(BOOKING, ("AFTERWARDS",))
    request = (await receiver.wait_for_delivered(2))[1]
    assert request.headers["webhook-signature"].count("v1,") == 1
    assert verifies(request, new)
    assert not verifies(request, old)
    assert [secret for secret in (old, new) if secret in "".join(bridge.output)] == []


async def test_endpoint_that_asks_for_a_certificate_gets_one(
    database: Database, bridge: Bridge, till: Till, certificates: Certificates, endpoint: EndpointCommands
) -> None:
    strict = Receiver(certificates.asks_for_a_certificate)
    await strict.start()
    try:
        options = ("--client-certificate-file", str(certificates.client_certificate_file))
        with_key = (*options, "--client-key-file", str(certificates.client_key_file))
        assert "does not hold its key" in await endpoint.refused("add", "till", strict.url, *options, code=2)
        await till.add("till", *with_key, receiver=strict)
        assert "HTTP 200" in await endpoint.run("test", "till")
        database.execute(BOOKING, ("R",))
        await strict.wait_for(lambda: bool(strict.delivered) and ids(strict.delivered[1:]) == ["R"], "the reservation")
        await endpoint.run("set", "till", "--client-certificate-file", "")
        await endpoint.run("test", "till", code=1)
    finally:
        await strict.stop()


@pytest.mark.parametrize("status", [429, 503])
async def test_resume_ends_the_pause_that_an_endpoint_asked_for(
    status: int, database: Database, bridge: Bridge, till: Till, receiver: Receiver, endpoint: EndpointCommands
) -> None:
    receiver.script = lambda _: Response(status, {"retry-after": "3600"})
    await till.add()
    database.execute(BOOKING, ("R",))
    await bridge.wait_for_log("endpoint failing", endpoint="till")
    receiver.script = lambda _: Response()
    assert "a probe is sent now" in await endpoint.run("resume", "till")
    await bridge.wait_for_log("endpoint recovered", endpoint="till")
    assert len(receiver.delivered) == 1


async def test_endpoint_that_answers_410_is_disabled_until_resumed_and_gets_all_in_order(
    database: Database, bridge: Bridge, till: Till, receiver: Receiver, endpoint: EndpointCommands
) -> None:
    receiver.script = lambda _: Response(410)
    await till.add()
    database.execute(BOOKING, ("R",))
    await bridge.wait_for_log("endpoint disabled", endpoint="till")
    assert ": it responded with 410" in await endpoint.run("show", "till")
    assert "disabled" in await endpoint.run("list")
    for adults in (1, 2, 3):
        database.execute("update reservations set adults = %s where id = 'R'", (adults,))
    receiver.script = lambda _: Response()
    assert "is resumed" in await endpoint.run("resume", "till")
    requests = await receiver.wait_for_delivered(4)
    assert [request.headers["ce-type"] for request in requests] == ["reservation.created"] + 3 * ["reservation.updated"]
    assert [request.seq for request in requests] == sorted(request.seq for request in requests)
    assert requests[-1].json["adults"] == 3
    assert await till.state() == "healthy"


@pytest.mark.parametrize(
    ("nonsense", "problem"),
    [
        ("headers = array[null]", "headers has to be a list of texts"),
        ("headers = array[array['x-a: 1', 'x-b: 2']]", "headers has to be a list of texts"),
        ("previous_secret = 'none', previous_secret_until = 'infinity'", "previous_secret has to begin with whsec_"),
    ],
)
async def test_nonsense_written_in_psql_stops_its_endpoint_alone(
    nonsense: str,
    problem: str,
    database: Database,
    bridge: Bridge,
    till: Till,
    other: Receiver,
    endpoint: EndpointCommands,
) -> None:
    await till.add()
    await till.add("other", receiver=other)
    database.execute(f"update cdc_bridge.endpoint set {nonsense} where name = 'till'")
    line = await bridge.wait_for_log("endpoint invalid", endpoint="till")
    assert line["problem"].startswith(problem)
    database.execute(BOOKING, ("R",))
    assert ids(await other.wait_for_delivered(1)) == ["R"]
    assert bridge.running


async def test_previous_secret_that_is_good_for_ever_signs_too(
    database: Database, bridge: Bridge, till: Till, receiver: Receiver
) -> None:
    old = await till.add()
    before = bridge.assignments()
    await till.rotate()
    await bridge.until_assigned("till", after=before)
    before = bridge.assignments()
    database.execute("update cdc_bridge.endpoint set previous_secret_until = 'infinity'")
    await bridge.until_assigned("till", after=before)
    database.execute(BOOKING, ("R",))
    (request,) = await receiver.wait_for_delivered(1)
    assert verifies(request, old)


async def test_ca_file_that_vanishes_stops_its_endpoint_alone_until_it_is_back(
    database: Database,
    bridge: Bridge,
    till: Till,
    receiver: Receiver,
    other: Receiver,
    endpoint: EndpointCommands,
    tmp_path: Path,
) -> None:
    await till.add("other", receiver=other)
    ca_file = tmp_path / "ca.pem"
    copy(till.ca_file, ca_file)
    till.ca_file = str(ca_file)
    await till.add()
    ca_file.unlink()
    await endpoint.run("pause", "till")
    await till.let_go()
    await endpoint.run("resume", "till")
    await bridge.wait_for_log("endpoint invalid", endpoint="till")
    database.execute(BOOKING, ("R",))
    assert ids(await other.wait_for_delivered(1)) == ["R"]
    assert await till.state() == "invalid"
    other_ca_file = database.value("select ca_file from cdc_bridge.endpoint where name = 'other'")
    copy(other_ca_file, ca_file)
    assert ids(await receiver.wait_for_delivered(1)) == ["R"]
    assert bridge.running


async def test_ca_file_of_the_settings_that_vanishes_does_not_stop_the_others(
    database: Database,
    bridges: Bridges,
    receiver: Receiver,
    other: Receiver,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    ca_file = tmp_path / "ca.pem"
    copy(certificates.ca_file, ca_file)
    bridge = await bridges.start(CDC_BRIDGE_ENDPOINT_CA_FILE=str(ca_file))
    await bridge.until_assigned("default")
    add_endpoint(database, "other", other.url, certificates.ca_file)
    await bridge.until_assigned("other")
    ca_file.unlink()
    database.execute("update cdc_bridge.endpoint set paused_at = now() where name = 'default'")
    await bridge.wait_for_log("endpoint paused")
    await until(lambda: database.value(HELD, ("default",)) == 0, "the daemon has let go of it")
    database.execute("update cdc_bridge.endpoint set paused_at = null where name = 'default'")
    line = await bridge.wait_for_log("endpoint invalid", endpoint="default")
    assert line["problem"] == "a certificate file can no longer be read: No such file or directory"
    database.execute(BOOKING, ("R",))
    assert ids(await other.wait_for_delivered(1)) == ["R"]
    copy(certificates.ca_file, ca_file)
    assert ids(await receiver.wait_for_delivered(1)) == ["R"]


async def test_daemon_whose_session_was_ended_has_its_endpoints_still(
    database: Database, bridges: Bridges, endpoint: EndpointCommands
) -> None:
    bridge = await bridges.start(CDC_BRIDGE_LEASE_SECONDS="3")
    await bridge.until_assigned()
    token = bridge.assignments()
    (daemon_id,) = (number for (number,) in database.execute("select daemon_id from cdc_bridge.daemon"))
    locked = "select pid from pg_locks where locktype = 'advisory' and classid = 52684 and objid = %s and granted"
    before = database.value(locked, (daemon_id,))
    database.execute("select pg_terminate_backend(%s)", (before,))
    await until(
        lambda: any(pid != before for (pid,) in database.execute(locked, (daemon_id,))), "a new session has the lock"
    )
    (listed,) = await endpoint.json("list")
    assert (listed["status"], listed["daemon"].endswith(f":{bridge.pid}")) == ("healthy", True)
    assert bridge.assignments() == token
