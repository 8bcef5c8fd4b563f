"""Requests: the URL is sent as given, and whether they may be sent is asked when the body is about to be written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cdc_bridge.model import Change, Operation, ReservationId, Seq
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.message import compose
from cdc_bridge.transport.outcome import Delivered
from tests.support.certificates import Certificates
from tests.support.receiver import Receiver
from tests.support.scripted_connections import OK, ScriptedConnection, ScriptedReceiver
from tests.unit.runtime.scripted import TILL

CHANGE = Change(Seq(1), ReservationId("R"), Operation.CREATED, datetime.now(UTC))
MESSAGE = compose(CHANGE, "R", "/tests", b'{"id":"R"}')


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
