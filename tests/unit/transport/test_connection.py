"""A response counts for its own request only; the status line decides; connections are given up in time."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc_bridge.model import History
from cdc_bridge.transport import connection as connection_module
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.message import Message, compose
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault
from tests.support.certificates import Certificates
from tests.support.http_proxy import ScriptedProxy, establishing
from tests.support.scripted_connections import OK, ScriptedConnection, ScriptedReceiver, accept_all
from tests.support.waiting import until
from tests.unit.runtime.scripted import TILL
from tests.unit.transport.test_client import CHANGE, MESSAGE

pytestmark = pytest.mark.departs_from_contract("its bodies are short ones, not from a database")

LARGE = compose(CHANGE, "R", "/tests", History(3), b'{"id":"R","notes":"' + b"x" * 8_000_000 + b'"}')
LATE = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
GONE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"

Send = Callable[[Message], Coroutine[Any, Any, Attempt]]


@pytest.fixture(params=["directly", "through a proxy"])
async def transport(
    scripted_receiver: ScriptedReceiver, certificates: Certificates, request: pytest.FixtureRequest
) -> AsyncIterator[HttpTransport]:
    async with ScriptedProxy(establishing(scripted_receiver.port)) as proxy:
        till = replace(
            TILL,
            url=scripted_receiver.url,
            ca_file=certificates.ca_file,
            timeout_seconds=3,
            proxy="none" if request.param == "directly" else proxy.url,
        )
        transport = HttpTransport(till, may_send=lambda: True)
        yield transport
        await transport.close()


@pytest.fixture
def send(transport: HttpTransport) -> Send:
    async def send(message: Message) -> Attempt:
        attempt = await transport.send(message)
        assert attempt is not None
        return attempt

    return send


directly_alone = pytest.mark.parametrize("transport", ["directly"], indirect=True)
"""For a test that needs to know what has arrived at our end, or that is about the name; through a proxy it cannot."""


def after_one(response: bytes, *further: bytes) -> Callable[[ScriptedConnection], Awaitable[None]]:
    """Respond to one request, write more when that is asked for, and wait for the client."""

    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        await connection.write(response)
        for each in further:
            await connection.write(each)
        await connection.wait_until_closed()

    return script


@pytest.mark.parametrize(
    "unasked",
    [
        LATE,
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
        b"\r\n",  # written by some servers before they close an idle connection
        b"0\r\n\r\n",  # the end of a chunked body, behind a 204
        b"\x1f\x8b\x08\x00",  # a compressed body, behind a 204
        b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n",  # as HAProxy has it
        b"H",
    ],
)
@pytest.mark.parametrize("first", [OK, b"HTTP/1.1 422 Unprocessable\r\ncontent-length: 2\r\n\r\nno"])
async def test_what_arrives_on_an_idle_connection_is_no_response_to_the_next_request(
    first: bytes, unasked: bytes, send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    late = asyncio.Event()

    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        await connection.write(first)
        await late.wait()
        await connection.write(unasked)
        await connection.wait_until_closed()

    scripted_receiver.scripts = [script, accept_all]
    await send(MESSAGE)
    late.set()
    await scripted_receiver.wait_until_closed(0)
    attempt = await send(MESSAGE)
    assert attempt.outcome == Delivered(200)
    assert attempt.flaw == "bytes behind its end"
    assert scripted_receiver.requests == [(0, MESSAGE.body), (1, MESSAGE.body)]
    assert (await send(MESSAGE)).flaw is None  # told once


@directly_alone
async def test_response_that_arrives_while_the_next_request_is_prepared_is_not_its_own(
    send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    """Nothing was read yet when the request is about to be written: the socket is asked."""
    scripted_receiver.scripts = [after_one(OK), accept_all]
    await send(MESSAGE)
    second = asyncio.create_task(send(MESSAGE))
    await scripted_receiver.connections[0].write(LATE)
    attempt = await second
    assert attempt.outcome == Delivered(200)
    assert scripted_receiver.requests[-1] == (1, MESSAGE.body)


async def test_connection_is_not_used_again_after_a_503(send: Send, scripted_receiver: ScriptedReceiver) -> None:
    scripted_receiver.scripts = [after_one(GONE), accept_all]
    assert (await send(MESSAGE)).outcome.status == 503
    await scripted_receiver.wait_until_closed(0)
    assert (await send(MESSAGE)).outcome == Delivered(200)
    assert [number for number, _ in scripted_receiver.requests] == [0, 1]


@directly_alone
async def test_endpoint_that_speaks_first_is_not_believed(
    send: Send, scripted_receiver: ScriptedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = asyncio.Event()

    async def script(connection: ScriptedConnection) -> None:
        await connection.write(LATE)
        spoken.set()
        await connection.request()

    ensure_idle = connection_module.EndpointConnection.ensure_idle

    async def ensure_idle_later(connection: connection_module.EndpointConnection) -> None:
        await spoken.wait()
        await ensure_idle(connection)

    monkeypatch.setattr(connection_module.EndpointConnection, "ensure_idle", ensure_idle_later)
    scripted_receiver.scripts = [script]
    outcome = (await send(MESSAGE)).outcome
    assert isinstance(outcome, Failed)
    assert outcome.status is None


@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content"])
async def test_success_before_the_request_was_received_is_none(
    status: bytes, send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    async def script(connection: ScriptedConnection) -> None:
        await connection.head()
        await connection.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
        await connection.wait_until_closed()

    scripted_receiver.scripts = [script]
    outcome = (await send(LARGE)).outcome
    assert isinstance(outcome, Failed)
    assert outcome.fault is Fault.ENDPOINT
    assert "before it had received the request" in outcome.reason
    await scripted_receiver.wait_until_closed(0)


@pytest.mark.parametrize("status", [413, 401])
async def test_rejection_before_the_request_was_received_counts(
    status: int, send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    async def script(connection: ScriptedConnection) -> None:
        await connection.head()
        await connection.write(f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n".encode())
        await connection.wait_until_closed()

    scripted_receiver.scripts = [script, accept_all]
    assert (await send(LARGE)).outcome.status == status
    await scripted_receiver.wait_until_closed(0)
    assert (await send(LARGE)).outcome == Delivered(200)


async def test_interim_responses_are_not_the_response(send: Send, scripted_receiver: ScriptedReceiver) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    scripted_receiver.scripts = [after_one(interim, b"HTTP/1.1 422 No\r\ncontent-length: 0\r\n\r\n")]
    assert (await send(MESSAGE)).outcome.status == 422


async def test_interim_response_may_come_before_the_request_was_received(
    send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    async def script(connection: ScriptedConnection) -> None:
        head = await connection.head()
        await connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await connection.body_of(head)
        await connection.write(OK)

    scripted_receiver.scripts = [script]
    assert (await send(LARGE)).outcome == Delivered(200)
    assert [len(body) for _, body in scripted_receiver.requests] == [len(LARGE.body)]


@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 131072, 1_000_000])
async def test_body_of_every_size_arrives_whole(size: int, send: Send, scripted_receiver: ScriptedReceiver) -> None:
    body = bytes(number % 251 for number in range(size))
    scripted_receiver.scripts = [accept_all]
    assert (await send(compose(CHANGE, "R", "/tests", History(3), body))).outcome == Delivered(200)
    assert scripted_receiver.requests == [(0, body)]


ODD = {
    "a header of more than 8190 bytes": (
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 9000 + b"\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nset-cookie: a=" + b"y" * 40_000 + b"\r\n\r\n",
    ),
    "more than 128 headers": (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"content-length: 0\r\n\r\n",),
    "Content-Length more than once": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    ),
    "Content-Length beside Transfer-Encoding": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    "a Content-Length that is not a number": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",),
    "more body than its Content-Length, which counts bytes": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay",
        b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"status":"r\xc3\xa9serv\xc3\xa9"}',
    ),
    "bytes behind its end": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
    ),
    "a body, which HTTP 204 does not allow": (b"HTTP/1.1 204 No Content\r\n\r\nok",),
    "a malformed chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",),
    "a malformed header": (
        b"HTTP/1.1 200 OK\r\n\xffname: value\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 0\r\n\r\n",
    ),
}


@pytest.mark.parametrize("status", [200, 202, 422, 503])
@pytest.mark.parametrize(
    ("flaw", "response"), [(flaw, response) for flaw, responses in ODD.items() for response in responses]
)
async def test_status_line_decides_and_the_flaw_is_named_and_costs_the_connection(
    flaw: str, response: bytes, status: int, send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    given = response.replace(b" 200 ", f" {status} ".encode()).replace(b"\r\n\r\n", b"\r\nRetry-After: 7\r\n\r\n")
    scripted_receiver.scripts = [after_one(given), accept_all]
    attempt = await send(MESSAGE)
    expected = 204 if b" 204 " in response else status
    assert attempt.outcome.status == expected
    assert attempt.flaw == flaw
    match attempt.outcome:
        case Failed(retry_after_seconds=pause):
            assert (expected >= 400, pause) == (True, 7)
        case Delivered():
            assert expected < 300
    await scripted_receiver.wait_until_closed(0)
    second = await send(MESSAGE)
    assert (second.outcome, second.flaw) == (Delivered(200), None)


@pytest.mark.parametrize("closes", [True, False], ids=["and closes", "and waits"])
@pytest.mark.parametrize("status", [200, 422])
async def test_status_line_decides_when_the_headers_never_end(
    status: int, send: Send, scripted_receiver: ScriptedReceiver, *, closes: bool
) -> None:
    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        await connection.write(f"HTTP/1.1 {status} Well\r\ncontent-le".encode())
        if not closes:
            await connection.wait_until_closed()

    scripted_receiver.scripts = [script]
    attempt = await send(MESSAGE)
    assert (attempt.outcome.status, attempt.flaw) == (status, "headers that end too early")


@pytest.mark.parametrize(
    ("end", "flaw"),
    [
        (b"content-length: 20\r\n\r\nshort", "a body that ends too early"),
        (b"transfer-encoding: chunked\r\n\r\n5\r\nsh", "a body that ends too early"),
    ],
)
async def test_body_that_is_cut_off_costs_the_connection(
    end: bytes, flaw: str, send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        await connection.write(b"HTTP/1.1 201 Created\r\n" + end)

    scripted_receiver.scripts = [script]
    attempt = await send(MESSAGE)
    assert (attempt.outcome, attempt.flaw) == (Delivered(201), flaw)


async def test_body_that_breaks_off_later_costs_the_connection_and_is_not_waited_for(
    transport: HttpTransport, send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
        (pool,) = transport._pools._open.values()
        (ours,) = pool.connector._acquired
        assert isinstance(ours, connection_module.EndpointConnection)
        await until(lambda: ours._answered, "the status was read")
        await connection.write(b"zz\r\n")
        await connection.wait_until_closed()

    scripted_receiver.scripts = [script, accept_all]
    attempt = await send(MESSAGE)
    assert (attempt.outcome, attempt.flaw) == (Delivered(200), "a body that ends too early")
    await scripted_receiver.wait_until_closed(0)


STATUS_LINES = st.builds(
    lambda minor, status, phrase: b"HTTP/1.%d %03d %s\r\n" % (minor, status, phrase.replace(b"\n", b" ")),
    st.integers(0, 1),
    st.sampled_from([200, 204, 299, 300, 304, 401, 410, 422, 429, 500, 503, 599]),
    st.binary(max_size=8).map(lambda phrase: phrase.replace(b"\r", b" ")),
)
PARTS = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r\n\r\n", b"content-length: 5\r\n", b"content-length: -1\r\n", b"5\r\nhello\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip\r\n", b"content-encoding: gzip\r\n",
        b"connection: keep-alive\r\n", b"upgrade: websocket\r\nconnection: upgrade\r\n", b" folded\r\n", b": \r\n",
        b"HTTP/1.1 500 No\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x" * 9000, b"zz\r\n", b"\0",
    ]
)  # fmt: skip


@given(line=STATUS_LINES, parts=st.lists(PARTS | st.binary(max_size=30), max_size=6))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_follows_a_status_line_it_decides(
    line: bytes, parts: list[bytes], send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        await connection.write(line + b"".join(parts))

    scripted_receiver.scripts = [script]
    attempt = await send(MESSAGE)
    assert attempt.outcome.status == int(line[9:12])


@pytest.mark.parametrize("number", [16, 1])
async def test_requests_on_connections_that_the_endpoint_gave_up_are_delivered_by_the_same_call(
    number: int, send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    given_up = 16
    together = asyncio.Barrier(given_up)

    async def dies_on_the_second(connection: ScriptedConnection) -> None:
        await connection.request()
        await together.wait()
        await connection.write(OK)
        await connection.head()
        connection.reset()

    scripted_receiver.scripts = [*[dies_on_the_second] * given_up, accept_all]
    await asyncio.gather(*(send(MESSAGE) for _ in range(given_up)))
    attempts = await asyncio.gather(*(send(MESSAGE) for _ in range(number)))
    assert [attempt.outcome for attempt in attempts] == [Delivered(200)] * number
    closed = [connection.closed.is_set() for connection in scripted_receiver.connections[:given_up]]
    assert closed.count(True) == number  # Others may still work: each request finds out by itself.
    assert {attempt.message_id for attempt in attempts} == {MESSAGE.id}


@pytest.mark.parametrize("closes", [ScriptedConnection.reset, ScriptedConnection.close], ids=["resets", "closes"])
async def test_request_is_sent_once_more_only_if_its_connection_had_served_before(
    closes: Callable[[ScriptedConnection], None], send: Send, scripted_receiver: ScriptedReceiver
) -> None:
    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        closes(connection)

    scripted_receiver.scripts = [script]
    assert isinstance((await send(MESSAGE)).outcome, Failed)
    assert len(scripted_receiver.requests) == 1
    scripted_receiver.scripts = [script, after_one(OK), script]
    assert isinstance((await send(MESSAGE)).outcome, Delivered)


async def test_request_is_not_sent_once_more_if_it_may_not_be_sent_any_more(
    scripted_receiver: ScriptedReceiver, certificates: Certificates
) -> None:
    allowed = [True, True]

    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        await connection.write(OK)
        await connection.request()

    scripted_receiver.scripts = [script]
    till = replace(TILL, url=scripted_receiver.url, ca_file=certificates.ca_file)
    transport = HttpTransport(till, may_send=lambda: bool(allowed) and allowed.pop())
    try:
        assert await transport.send(MESSAGE) is not None
        assert await transport.send(MESSAGE) is None
    finally:
        await transport.close()
    assert len(scripted_receiver.requests) == 2


async def test_connection_that_was_idle_beyond_its_maximum_age_is_not_used(
    send: Send, scripted_receiver: ScriptedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_receiver.scripts = [accept_all]
    await send(MESSAGE)
    await send(MESSAGE)
    let_age_pass(monkeypatch)
    await send(MESSAGE)
    assert [number for number, _ in scripted_receiver.requests] == [0, 0, 1]


async def test_connection_is_closed_after_the_response_when_its_maximum_age_is_over(
    send: Send, scripted_receiver: ScriptedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "MAX_AGE_SECONDS", 0)
    scripted_receiver.scripts = [after_one(OK)]
    assert (await send(MESSAGE)).outcome == Delivered(200)
    await scripted_receiver.wait_until_closed(0)


@directly_alone
async def test_name_that_moves_to_another_address_is_followed(
    send: Send, scripted_receiver: ScriptedReceiver, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ScriptedReceiver()
    await other.start(certificates, "127.0.0.2", scripted_receiver.port)
    scripted_receiver.scripts = other.scripts = [accept_all]
    try:
        resolve_to(monkeypatch, "127.0.0.1")
        await send(MESSAGE)
        resolve_to(monkeypatch, "127.0.0.2")
        await send(MESSAGE)
        assert (len(scripted_receiver.requests), len(other.requests)) == (2, 0)
        now = time.monotonic
        monkeypatch.setattr("aiohttp.connector.monotonic", lambda: now() + 79)
        let_age_pass(monkeypatch)
        await send(MESSAGE)
        assert (len(scripted_receiver.requests), len(other.requests)) == (2, 1)
    finally:
        await other.stop()


def resolve_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Have every name resolved to an address."""
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda _, port, *__, **___: [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))],
    )


def let_age_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the event loop's clock forward by a connection's maximum age."""
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + connection_module.MAX_AGE_SECONDS * 1.1)
