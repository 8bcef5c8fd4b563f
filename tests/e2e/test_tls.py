"""An endpoint that cannot be trusted or does not answer as it should: refused in words, and nothing lost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook

from tests.support.bridge import SECRET, Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Response
from tests.support.waiting import until

BOOKING = (
    "insert into customers (id) values ('C'); insert into reservations (id, cust_id, reference) values ('R', 'C', 1)"
)
WAITING = "select attempts, last_status, last_error from cdc_bridge.delivery where state in ('queued', 'retrying')"
DUE_NOW = "update cdc_bridge.delivery set next_attempt_at = now() where state in ('queued', 'retrying')"


async def refusal(database: Database, bridges: Bridges, **settings: str) -> str:
    """Book, let the daemon try once and stop it; return why the endpoint could not be called."""
    bridge = await bridges.start(**settings)
    database.execute(BOOKING)
    line = await bridge.wait_for_log("attempt failed")
    assert await bridge.terminate() == 0
    return str(line["reason"])


async def book_and_be_refused(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    """Book, have that booking refused for its own sake, and stop the daemon."""
    receiver.script = lambda _: Response(422)
    bridge = await bridges.start()
    database.execute(BOOKING)
    line = await bridge.wait_for_log("delivery rejected")
    await until(lambda: bool(database.execute(WAITING)), "the delivery log has it")
    assert await bridge.terminate() == 0
    assert database.execute(WAITING) == [(1, 422, line["reason"])]


async def assert_not_lost(database: Database, receiver: Receiver, bridges: Bridges, **settings: str) -> ReceivedRequest:
    """Start a daemon to which nothing stands in the way; return the call it makes."""
    database.execute(DUE_NOW)
    await bridges.start(**settings)
    (request,) = await receiver.wait_for_delivered(1)
    assert request.reservation_id == "R"
    return request


async def test_certificate_of_an_unknown_ca_is_refused(
    database: Database, receiver: Receiver, bridges: Bridges, certificates: Certificates
) -> None:
    reason = await refusal(database, bridges, CDC_BRIDGE_ENDPOINT_CA_FILE=str(certificates.other_ca_file))
    assert "certificate cannot be verified" in reason
    assert "endpoint_ca_file" in reason
    assert receiver.requests == []
    await assert_not_lost(database, receiver, bridges)


@pytest.mark.parametrize(
    ("bad_certificate", "words"),
    [
        (lambda certificates: certificates.expired, "certificate has expired"),
        (lambda certificates: certificates.for_another_host, "Hostname mismatch"),
    ],
    ids=["expired", "for another host"],
)
async def test_bad_certificate_is_refused(
    bad_certificate: Callable[[Certificates], ssl.SSLContext],
    words: str,
    database: Database,
    receiver: Receiver,
    bridges: Bridges,
    certificates: Certificates,
) -> None:
    bad = Receiver(bad_certificate(certificates))
    await bad.start()
    try:
        reason = await refusal(database, bridges, CDC_BRIDGE_ENDPOINT_URL=bad.url)
    finally:
        await bad.stop()
    assert words in reason
    assert bad.requests == []
    await assert_not_lost(database, receiver, bridges)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_a_refusal_and_not_followed(
    status: int, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda request: (
        Response(status, {"location": "/elsewhere"}) if request.path == "/reservations" else Response()
    )
    reason = await refusal(database, bridges)
    assert f"HTTP {status}" in reason
    assert "redirects are not followed" in reason
    assert [request.path for request in receiver.requests] == ["/reservations"]
    receiver.script = lambda _: Response()
    await assert_not_lost(database, receiver, bridges)


async def test_plain_http_is_refused_before_anything_is_read(bridges: Bridges) -> None:
    code, _, errors = await run_command("run", **bridges.settings | {"CDC_BRIDGE_ENDPOINT_URL": "http://localhost:1/x"})
    assert code == 78
    assert "CDC_BRIDGE_ENDPOINT_URL has to begin with https://" in errors
    assert "Traceback" not in errors


async def test_plain_http_to_this_machine_can_be_admitted(database: Database, bridges: Bridges) -> None:
    plain = Receiver(None)
    await plain.start()
    try:
        database.execute(BOOKING)
        await bridges.start(CDC_BRIDGE_ENDPOINT_URL=plain.url, CDC_BRIDGE_ALLOW_HTTP="true")
        await plain.wait_for_delivered(1)
    finally:
        await plain.stop()


async def test_metadata_address_is_never_called(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    reason = await refusal(database, bridges, CDC_BRIDGE_ENDPOINT_URL="https://169.254.169.254/latest")
    assert "address not allowed: 169.254.169.254 is a link-local" in reason
    await assert_not_lost(database, receiver, bridges)


@asynccontextmanager
async def tls_server(tls: ssl.SSLContext, answer: bytes) -> AsyncIterator[str]:
    """Serve bytes that are no HTTP; the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff" * 50,
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 99999 what\r\n\r\n",
        b"HTTP/1.1 200",
    ],
)
async def test_answer_that_is_no_http_is_a_refusal(
    answer: bytes, database: Database, receiver: Receiver, bridges: Bridges, certificates: Certificates
) -> None:
    async with tls_server(certificates.good, answer) as url:
        reason = await refusal(database, bridges, CDC_BRIDGE_ENDPOINT_URL=url)
    assert reason
    await assert_not_lost(database, receiver, bridges)


async def test_endpoint_that_is_not_there_or_too_slow_is_a_refusal(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    never = asyncio.Event()
    receiver.script = lambda _: Response(after=never)
    reason = await refusal(database, bridges, CDC_BRIDGE_ENDPOINT_TIMEOUT_SECONDS="3")
    assert reason == "no response within 3 s"
    never.set()
    await receiver.stop()
    bridge = await bridges.start()
    line = await bridge.wait_for_log("attempt failed")
    assert "cannot connect to localhost" in line["reason"]
    assert await bridge.terminate() == 0
    receiver.script = lambda _: Response()
    await receiver.start()
    receiver.delivered.clear()
    await assert_not_lost(database, receiver, bridges)


async def test_every_call_verifies_with_standardwebhooks_and_parses_with_the_cloudevents_sdk(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await bridges.start()
    database.execute(BOOKING)
    for adults in range(5):
        database.execute("update reservations set adults = %s, notes = 'Grüße 🎉' where id = 'R'", (adults,))
    requests = await receiver.wait_for_delivered(6)
    for request in requests:
        assert Webhook(SECRET).verify(request.body.decode(), dict(request.headers)) == request.json
        event = from_http_event(HTTPMessage(dict(request.headers), request.body))
        assert event.get_id() == request.headers["webhook-id"]
        assert event.get_subject() == "R"
        assert event.get_data() == request.json
        assert str(event.get_source()).startswith("/cdc-bridge/")
    assert [request.headers["ce-type"] for request in requests] == ["reservation.created"] + 5 * ["reservation.updated"]
    assert [request.seq for request in requests] == sorted({request.seq for request in requests})


async def test_retry_has_the_same_id_for_the_same_body_and_another_for_another(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await book_and_be_refused(database, receiver, bridges)
    database.execute(DUE_NOW)
    bridge = await bridges.start()
    await bridge.wait_for_log("delivery rejected", attempt=2)
    assert await bridge.terminate() == 0
    database.execute(
        "update customers set surname = 'Changed' where id = 'C'"
    )  # of no reservation, so no change of its own
    receiver.script = lambda _: Response()
    third = await assert_not_lost(database, receiver, bridges)
    first, second = receiver.requests[0].headers["webhook-id"], receiver.requests[1].headers["webhook-id"]
    assert first == second
    assert third.headers["webhook-id"] != first
    assert {request.seq for request in receiver.requests} == {third.seq}
    assert third.json["customer"]["surname"] == "Changed"


async def test_newer_change_supersedes_an_older_one_that_waits(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await book_and_be_refused(database, receiver, bridges)
    receiver.script = lambda _: Response()
    database.execute("update reservations set adults = 9 where id = 'R'")
    await bridges.start()
    (request,) = await receiver.wait_for_delivered(1)
    assert request.json["adults"] == 9
    states = "select state from cdc_bridge.delivery order by seq"
    await until(lambda: database.execute(states) == [("superseded",), ("delivered",)], "the older one is superseded")


@pytest.mark.parametrize(("status", "failures"), [(422, 1), (500, 0)])
async def test_refused_delivery_is_tried_again_by_itself(
    status: int, failures: int, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response() if len(receiver.requests) else Response(status)
    await bridges.start()
    database.execute(BOOKING)
    await receiver.wait_for_delivered(1)
    assert len(receiver.requests) == 2
    settled = "select state, attempts, failures from cdc_bridge.delivery"
    await until(lambda: database.execute(settled) == [("delivered", 2, failures)], "recorded")


async def test_other_reservations_go_on_while_one_is_refused(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda request: Response(422 if request.reservation_id == "R" else 200)
    bridge = await bridges.start()
    database.execute(BOOKING)
    await bridge.wait_for_log("delivery rejected", status=422)
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'O' || n, 'C', n from generate_series(1, 50) n"
    )
    await receiver.wait_for_delivered(50)
