"""Whether a request may be sent is asked when its body is about to be written; what this process lacks is its fault."""

from __future__ import annotations

import errno
import resource
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from cdc_bridge.model import Change, Operation, ReservationId, Seq
from cdc_bridge.transport.client import HttpTransport, tls_context
from cdc_bridge.transport.exhaustion import lowest_free_descriptor
from cdc_bridge.transport.message import compose
from cdc_bridge.transport.outcome import Delivered, Failed, Fault
from tests.support.certificates import Certificates
from tests.support.receiver import Receiver
from tests.support.waiting import until
from tests.unit.runtime.scripted import TILL

CHANGE = Change(Seq(1), ReservationId("R"), Operation.CREATED, datetime.now(UTC))
MESSAGE = compose(CHANGE, "R", "/tests", b'{"id":"R"}')


def test_keys_of_connections_are_not_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = tls_context(TILL)
    assert context.keylog_filename is None
    assert not (tmp_path / "keys").exists()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509_ca"] > 0


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
async def test_connection_that_may_not_be_kept_is_closed_after_its_response(
    receiver: Receiver, certificates: Certificates
) -> None:
    endpoint = replace(TILL, url=receiver.url, ca_file=certificates.ca_file)
    transport = HttpTransport(endpoint, lambda: True, may_keep_connection=lambda: False)
    try:
        await transport.send(MESSAGE)
        await until(lambda: receiver.connections == 0, "the connection is closed")
    finally:
        await transport.close()
