"""The connection test finds what a request finds: both use one transport."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.outcome import Delivered, Failed
from cdc_bridge.transport.proxy import DIRECTLY
from cdc_bridge.transport.reach import Reached, Unreached, reach
from tests.support.certificates import Certificates
from tests.support.scripted_connections import ScriptedReceiver, accept_all
from tests.unit.runtime.scripted import TILL
from tests.unit.transport.test_client import MESSAGE

pytestmark = pytest.mark.departs_from_contract("its bodies are short ones, not from a database")


def found(address: str, port: int) -> Any:
    """Return an address as getaddrinfo does."""
    family, rest = (socket.AF_INET6, (0, 0)) if ":" in address else (socket.AF_INET, ())
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, *rest)


@pytest.mark.parametrize(
    ("host", "addresses", "problem"),
    [
        ("localhost.", ["127.0.0.1"], None),
        ("localhost", ["169.254.169.254", "127.0.0.1"], None),
        ("localhost", ["127.0.0.1", "64:ff9b::a9fe:a9fe"], None),
        ("localhost", ["169.254.169.254"], "address not allowed"),
        ("localhost", ["::a9fe:a9fe", "169.254.169.254"], "never connected to"),
        ("elsewhere", ["127.0.0.1"], "Hostname mismatch"),
    ],
)
async def test_request_and_connection_test_agree(
    host: str,
    addresses: list[str],
    problem: str | None,
    scripted_receiver: ScriptedReceiver,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, port, *__, **___: [found(each, port) for each in addresses])
    scripted_receiver.scripts = [accept_all]
    till = replace(TILL, url=scripted_receiver.url.replace("localhost", host), ca_file=certificates.ca_file)
    transport = HttpTransport(till, lambda: True)
    try:
        attempt = await transport.send(MESSAGE)
    finally:
        await transport.close()
    assert attempt is not None
    reached = await reach(till)
    if problem is None:
        assert attempt.outcome == Delivered(200)
        assert isinstance(reached, Reached)
        assert reached.address.startswith("127.0.0.1:")
    else:
        assert isinstance(attempt.outcome, Failed)
        assert problem in attempt.outcome.reason
        assert reached == Unreached(attempt.outcome.reason, DIRECTLY)


async def test_name_that_is_not_resolved_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait())
    try:
        assert await reach(replace(TILL, timeout_seconds=0.2)) == Unreached("no connection within 0.2 s", DIRECTLY)
    finally:
        never.set()
