"""The test call as an endpoint gets it, and what the command makes of the answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook

from cdc_bridge.vendor.contract import example
from tests.support.bridge import SECRET
from tests.support.certificates import Certificates
from tests.support.contract import violations_of
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands, add_endpoint
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Manner, Response

GUEST = "Unmistakable"


@pytest.fixture(autouse=True)
def booking(database: Database) -> None:
    database.execute("insert into customers (id, surname) values ('C', %s)", (GUEST,))
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")


@pytest.fixture
async def secret(endpoint: EndpointCommands, receiver: Receiver, certificates: Certificates) -> str:
    """The secret of an endpoint ``till`` at the test's receiver."""
    options = ("--ca-file", str(certificates.ca_file), "--header", "x-api-key: let-me-in", "--timeout-seconds", "3")
    return str((await endpoint.json("add", "till", receiver.url, *options))["secret"])


def assert_is_a_test_request(request: ReceivedRequest, *secrets: str) -> None:
    assert request.json.keys() == {"test"}
    for secret in secrets:
        assert Webhook(secret).verify(request.body.decode(), dict(request.headers)) == request.json
    event = from_http_event(HTTPMessage(dict(request.headers), request.body))
    assert event.get_type() == "cdc-bridge.test"
    assert str(event.get_source()).startswith("/cdc-bridge/")
    assert request.headers["x-api-key"] == "let-me-in"
    assert GUEST not in request.body.decode() + str(request.headers)


async def test_it_is_made_as_a_call_is_and_leaves_no_trace(
    database: Database, endpoint: EndpointCommands, receiver: Receiver, secret: str
) -> None:
    result = await endpoint.json("test", "till")
    assert (result["delivered"], result["status"], result["reason"]) == (True, 200, None)
    assert isinstance(result["milliseconds"], int)
    new = (await endpoint.json("rotate-secret", "till"))["secret"]
    await endpoint.run("test", "till")
    first, second = receiver.requests
    assert_is_a_test_request(first, secret)
    assert_is_a_test_request(second, secret, new)
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    assert database.value("select count(*) from cdc_bridge.delivery") == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Response(204), "HTTP 204"),
        (Response(422), "HTTP 422 Unprocessable"),
        (Response(401), "Check header, secret and client certificate"),
        (Response(404), "Check its path"),
        (Response(410), "wants no more requests"),
        (Response(307, {"location": "/elsewhere"}), "redirects are not followed"),
        (Response(500), "out of order"),
        (Response(manner=Manner.RESET), "There was no response"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Response) else "",
)
async def test_every_answer_is_told_with_its_meaning(
    answer: Response, words: str, endpoint: EndpointCommands, receiver: Receiver, secret: str, database: Database
) -> None:
    receiver.script = lambda _: answer
    good = answer.is_success and answer.manner is Manner.WHOLE
    assert words in await endpoint.run("test", "till", code=0 if good else 1)
    assert len(receiver.requests) == 1
    assert database.value("select disabled_at is null from cdc_bridge.endpoint")


async def test_endpoint_that_does_not_answer_or_cannot_be_trusted_is_told(
    endpoint: EndpointCommands, receiver: Receiver, certificates: Certificates, secret: str
) -> None:
    never = asyncio.Event()
    receiver.script = lambda _: Response(after=never)
    assert "no response within 3 s" in await endpoint.run("test", "till", code=1)
    never.set()
    await endpoint.run("set", "till", "--ca-file", str(certificates.other_ca_file))
    told = await endpoint.run("test", "till", code=1)
    assert "certificate cannot be verified" in told
    assert "--ca-file" in told
    await endpoint.run("set", "till", "--url", "https://169.254.169.254/latest", "--keep-headers")
    assert "address not allowed" in await endpoint.run("test", "till", code=1)


async def test_malformed_response_counts_by_its_status_and_is_named(
    endpoint: EndpointCommands, receiver: Receiver, secret: str
) -> None:
    twice = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"
    receiver.script = lambda _: Response(body=twice, manner=Manner.RAW)
    assert "The response has Content-Length more than once" in await endpoint.run("test", "till")
    result = await endpoint.json("test", "till")
    assert (result["delivered"], result["flaw"]) == (True, "Content-Length more than once")


async def test_endpoint_of_the_settings_is_called_by_those_of_the_command(
    endpoint: EndpointCommands, receiver: Receiver, bridge_settings: dict[str, str], database: Database
) -> None:
    assert "there is no endpoint default" in await endpoint.refused("test", "default")
    add_endpoint(database, "default", receiver.url, Path(bridge_settings["CDC_BRIDGE_ENDPOINT_CA_FILE"]))
    database.execute("update cdc_bridge.endpoint set in_settings = true")
    assert "those of this command declare none" in await endpoint.refused("test", "default")
    assert receiver.requests == []
    endpoint.settings = bridge_settings
    assert "HTTP 200" in await endpoint.run("test", "default")
    assert_is_a_test_request(receiver.requests[0], SECRET)


async def test_sample_is_the_contracts_example_and_says_what_it_is(
    database: Database, endpoint: EndpointCommands, receiver: Receiver, secret: str
) -> None:
    result = await endpoint.json("test", "till", "--sample", "--yes")
    await endpoint.run("test", "till", "--sample", "--yes")
    assert (result["delivered"], result["status"]) == (True, 200)
    first, second = receiver.requests
    sample = first.json
    assert list(sample) == list(example())
    assert {key for key, value in example().items() if sample[key] != value} == {"notes", "updated"}
    assert sample["notes"] == "Test request of cdc-bridge: not a real reservation"
    assert violations_of(sample) == []
    assert first.headers["ce-type"] == "cdc-bridge.test"
    assert not {"ce-subject", "ce-sequence"} & {name.lower() for name in first.headers}
    assert first.headers["webhook-id"].startswith("0-")
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    assert Webhook(secret).verify(first.body, dict(first.headers)) == sample
    assert GUEST not in first.body.decode() + str(first.headers)
    assert database.value("select count(*) from cdc_bridge.delivery") == 0


async def test_sample_is_made_only_for_one_who_agrees(
    endpoint: EndpointCommands, receiver: Receiver, secret: str
) -> None:
    told = await endpoint.run("test", "till", "--sample", code=2)
    assert "takes it for a booking" in told
    assert "Nothing was sent. To go ahead: cdc-bridge endpoint test till --sample --yes" in told
    assert receiver.requests == []


async def test_refused_sample_is_not_told_to_be_no_reservation(
    endpoint: EndpointCommands, receiver: Receiver, secret: str
) -> None:
    receiver.script = lambda _: Response(422)
    told = await endpoint.run("test", "till", "--sample", "--yes", code=1)
    assert "rejects the contract's example, or every test request" in told
    assert "HTTP 422" in told
