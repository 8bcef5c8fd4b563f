"""Requests: the URL as given, sent only while they may be; what this process lacks is its fault."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NoReturn

import pytest

from cdc_bridge.model import Change, History, Operation, ReservationId, Seq
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.exhaustion import lowest_free_descriptor
from cdc_bridge.transport.message import compose
from cdc_bridge.transport.outcome import Delivered, Failed, Fault
from cdc_bridge.transport.pools import ConnectionPools
from tests.support.certificates import Certificates
from tests.support.receiver import Receiver
from tests.support.scripted_connections import OK, ScriptedConnection, ScriptedReceiver
from tests.support.waiting import until
from tests.unit.runtime.scripted import TILL

CHANGE = Change(Seq(1), ReservationId("R"), Operation.CREATED, datetime.now(UTC))
MESSAGE = compose(CHANGE, "R", "/tests", History(3), b'{"id":"R"}')


@pytest.mark.departs_from_contract("its body is a short one, not from a database")
async def test_request_is_withheld_when_the_lease_ends_while_it_connects(
    receiver: Receiver, certificates: Certificates
) -> None:
    may_send = False
    transport = HttpTransport(replace(TILL, url=receiver.url, ca_file=certificates.ca_file), lambda: may_send)
    try:
        assert await transport.send(MESSAGE) is None
        assert receiver.requests == []
        may_send = True
        attempt = await transport.send(MESSAGE)
    finally:
        await transport.close()
    assert attempt is not None
    assert attempt.outcome == Delivered(200)
    assert [request.body for request in receiver.requests] == [MESSAGE.body]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/a/%2e%2e/b?sp=%2Ftriggers&m=%40", "/a/%2e%2e/b?sp=%2Ftriggers&m=%40"),
        ("/workflows/0/triggers?sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=a%2Bb%3D", None),  # Azure Logic Apps
        ("/x?X-Amz-Credential=AKIA%2F20260101%2Feu&X-Amz-Signature=(ab)", None),  # presigned
        ("/a/../b//c/./d", None),
        ("/a+b%20c?q=+&&x=%2b&=&y", None),
        ("/%zz%?%", None),
        ("/a;b=c:d@e!$'()*,?/?:@", None),
        ('/"<>\\^`{|}', None),
        ("", "/"),
        ("?sig=%2F", "/?sig=%2F"),
        ("/r\u00e9servation?\u00fc=%C3%BC", "/r%C3%A9servation?%C3%BC=%C3%BC"),
    ],
)
async def test_url_is_sent_as_given(
    given: str, sent: str | None, scripted_receiver: ScriptedReceiver, certificates: Certificates
) -> None:
    lines: list[bytes] = []

    async def script(connection: ScriptedConnection) -> None:
        lines.append((await connection.head()).partition(b"\r\n")[0])
        await connection.write(OK)

    scripted_receiver.scripts = [script]
    url = scripted_receiver.url.rstrip("/") + given
    transport = HttpTransport(replace(TILL, url=url, ca_file=certificates.ca_file), lambda: True)
    try:
        await transport.send(MESSAGE)
    finally:
        await transport.close()
    assert lines == [f"POST {given if sent is None else sent} HTTP/1.1".encode()]


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def raise_it(*_: object, **__: object) -> NoReturn:
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("function", "error", "reason"),
    [
        ("threading.Thread.start", RuntimeError("can't start new thread"), "threads"),
        ("socket.socket.__init__", OSError(errno.ENOBUFS, "No buffer space available"), "memory"),
        ("socket.getaddrinfo", socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), "memory"),
        ("ssl.SSLContext.wrap_bio", MemoryError(), "memory"),
    ],
)
@pytest.mark.departs_from_contract("its body is a short one, not from a database")
async def test_what_this_process_lacks_is_not_the_endpoint_s_fault(
    function: str,
    error: BaseException,
    reason: str,
    receiver: Receiver,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = HttpTransport(replace(TILL, url=receiver.url, ca_file=certificates.ca_file), lambda: True)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(function, raising(error))
            attempt = await transport.send(MESSAGE)
        assert attempt is not None
        assert attempt.outcome == Failed(None, f"this process ran out of {reason}", Fault.OURS)
        again = await transport.send(MESSAGE)
    finally:
        await transport.close()
    assert again is not None
    assert again.outcome == Delivered(200)


@pytest.mark.departs_from_contract("its body is a short one, not from a database")
async def test_request_without_a_descriptor_is_our_fault_and_the_next_one_arrives(
    receiver: Receiver, certificates: Certificates
) -> None:
    transport = HttpTransport(replace(TILL, url=receiver.url, ca_file=certificates.ca_file), lambda: True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = lowest_free_descriptor()
    assert lowest_free is not None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        attempt = await transport.send(MESSAGE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        again = await transport.send(MESSAGE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await transport.close()
    assert attempt is not None
    assert isinstance(attempt.outcome, Failed)
    assert attempt.outcome.fault is Fault.OURS
    assert attempt.outcome.reason.startswith("this process ran out of file descriptors (limit ")
    assert again is not None
    assert again.outcome == Delivered(200)


@pytest.mark.departs_from_contract("its body is a short one, not from a database")
async def test_connection_with_a_high_descriptor_is_closed_after_its_response(
    receiver: Receiver, certificates: Certificates
) -> None:
    endpoint = replace(TILL, url=receiver.url, ca_file=certificates.ca_file)
    lowest_free = lowest_free_descriptor()
    assert lowest_free is not None
    pools = ConnectionPools(keep_below=lowest_free)
    try:
        attempt = await HttpTransport(endpoint, lambda: True, pools).send(MESSAGE)
        assert attempt is not None
        assert attempt.outcome == Delivered(200)
        await until(lambda: receiver.connections == 0, "the connection is closed")
    finally:
        await pools.close()
