"""Every failure is told in words that name the party at fault."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.outcome import Failed
from cdc_bridge.transport.proxy import DIRECTLY
from cdc_bridge.transport.reach import Unreached, reach
from cdc_bridge.transport.reasons import reason_of, remedy_of
from tests.support.blocking_receiver import BlockingReceiver
from tests.support.certificates import Certificates
from tests.support.scripted_connections import ScriptedConnection
from tests.unit.runtime.scripted import TILL
from tests.unit.transport.test_client import MESSAGE

CLASS_NAME = re.compile(r"\b[A-Z]\w*(Error|Exception)\b|\(\)")


async def reason(url: str, certificates: Certificates, **options: Any) -> str:
    """Send a request that fails; return why."""
    transport = HttpTransport(replace(TILL, url=url, ca_file=certificates.ca_file, **options), lambda: True)
    try:
        attempt = await transport.send(MESSAGE)
    finally:
        await transport.close()
    assert attempt is not None
    assert isinstance(attempt.outcome, Failed)
    assert not CLASS_NAME.search(attempt.outcome.reason)
    return attempt.outcome.reason


@asynccontextmanager
async def server(how: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve connections that end as said once something was received."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ScriptedConnection(reader, writer, lambda _: None)
        await reader.read(1)
        if how == "plain HTTP":
            await connection.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        if how == "resets":
            connection.reset()
        else:
            connection.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as started:
        yield f"https://localhost:{started.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("closes", "the endpoint closed the connection during the TLS handshake; this port may not speak HTTPS"),
        ("resets", "the endpoint closed the connection during the TLS handshake"),
        ("plain HTTP", "the endpoint does not speak TLS at this port"),
    ],
)
async def test_end_of_the_handshake_is_told_in_the_same_words_by_request_and_check(
    how: str, words: str, certificates: Certificates
) -> None:
    async with server(how) as url:
        told = await reason(url, certificates)
        found = await reach(replace(TILL, url=url))
    assert words in told
    assert found == Unreached(told, DIRECTLY)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("closes", "the endpoint closed the connection without a response"),
        ("resets", "the endpoint reset the connection without a response"),
    ],
)
async def test_end_without_a_response_is_told(how: str, words: str, certificates: Certificates) -> None:
    async with server(how, certificates.good) as url:
        assert await reason(url, certificates) == words


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_endpoint_that_wants_a_client_certificate_is_told(
    version: ssl.TLSVersion, certificates: Certificates
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.server_certificate_file, certificates.server_key_file)
    tls.load_verify_locations(certificates.other_ca_file)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.maximum_version = version
    receiver = BlockingReceiver(tls)
    ours = {
        "client_certificate_file": certificates.client_certificate_file,
        "client_key_file": certificates.client_key_file,
    }
    try:
        without, with_an_unknown_one = [await reason(receiver.url, certificates, **each) for each in ({}, ours)]
    finally:
        receiver.stop()
    assert "require" in without
    assert "a client certificate" in without
    assert "the endpoint rejects our client certificate" in with_an_unknown_one


async def test_name_and_address_are_told(certificates: Certificates) -> None:
    assert "the name nothing.invalid cannot be resolved" in await reason("https://nothing.invalid/", certificates)
    assert "cannot connect to 127.0.0.1:9: connection refused" in await reason("https://127.0.0.1:9/", certificates)
    assert "address not allowed: 169.254.169.254" in await reason("https://169.254.169.254/", certificates)


KEY = aiohttp.client_reqrep.ConnectionKey("till.example", 443, True, True, None, None, None)
OS_ERRORS: list[OSError] = [
    OSError(),
    OSError("Multiple exceptions: [Errno 111] Connect call failed ('127.0.0.1', 9), [Errno 101] something else"),
    ConnectionResetError(),
    ConnectionAbortedError("SSL handshake is taking longer than 60.0 seconds: aborting the connection"),
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    socket.gaierror(),
    ssl.SSLError(1, "[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate (_ssl.c:2580)"),
    ssl.SSLError(1, "[SSL] internal error (_ssl.c:2580)"),
    ssl.SSLError(),
    ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:1006)"),
    ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed (EOF) (_ssl.c:1006)"),
    *(OSError(number, os.strerror(number)) for number in errno.errorcode),
]


@pytest.mark.parametrize("error", OS_ERRORS, ids=repr)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda error: error,
        lambda error: aiohttp.ClientOSError(*error.args),
        lambda error: aiohttp.ClientConnectorError(KEY, error),
        lambda error: aiohttp.ClientConnectorSSLError(KEY, error),
        lambda error: aiohttp.ClientConnectorDNSError(KEY, error),
    ],
    ids=["bare", "of the connection", "of connecting", "of TLS", "of the name"],
)
def test_no_error_is_told_by_its_class_or_not_at_all(error: OSError, wrap: Any) -> None:
    told = reason_of(wrap(error))
    assert not CLASS_NAME.search(told)
    assert not told.rstrip().endswith(":")
    assert "Unknown error" not in told


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientConnectionError("Connector is closed."),
        aiohttp.ClientConnectionResetError("Cannot write to closing transport"),
        aiohttp.ClientPayloadError(),
        aiohttp.ClientOSError(None, "Can not write request body for https://till.example/?secret"),
        aiohttp.InvalidURL(URL("https://till.example/?secret")),
        UnicodeError("label empty or too long"),
        ValueError("secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_are_told_in_our_own_words(error: Exception) -> None:
    told = reason_of(error)
    assert len(told) > 20
    assert not CLASS_NAME.search(told)
    assert "secret" not in told


def test_failures_of_several_addresses_are_told_for_each() -> None:
    refused = "[Errno 111] Connect call failed ('127.0.0.1', 9)"
    unreachable = "[Errno 101] Connect call failed ('2001:db8::1', 9, 0, 0)"
    error = OSError(f"Multiple exceptions: {refused}, {unreachable}")
    assert reason_of(aiohttp.ClientConnectorError(KEY, error)) == (
        "cannot connect to till.example:443: 127.0.0.1: Connection refused, 2001:db8::1: Network is unreachable"
    )


def test_error_of_writing_is_told_by_its_cause() -> None:
    error = aiohttp.ClientOSError(None, "Can not write request body for https://till.example/?secret")
    error.__cause__ = ConnectionAbortedError()
    assert reason_of(error) == "the endpoint reset the connection without a response"


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("the endpoint's certificate cannot be verified: certificate has expired", "Its owner has to renew"),
        ("the endpoint's certificate cannot be verified: certificate is not yet valid", "this machine's clock"),
        (
            "cannot be verified: Hostname mismatch, certificate is not valid for 'x'.",
            "correct the URL, or have its owner",
        ),
        (
            "cannot be verified: IP address mismatch, certificate is not valid for '::1'.",
            "correct the URL, or have its",
        ),
        ("cannot connect to till.example:443: connection refused", ""),
    ],
)
def test_reason_says_who_does_what(reason: str, remedy: str) -> None:
    assert remedy in remedy_of(reason)
    assert bool(remedy) is bool(remedy_of(reason))


def test_ca_of_the_endpoint_in_the_settings_is_named_there_alone() -> None:
    unknown_issuer = ssl.SSLCertVerificationError(1, "certificate verify failed")
    unknown_issuer.verify_code, unknown_issuer.verify_message = 20, "unable to get local issuer certificate"
    key = ConnectionKey("till.example", 443, True, True, None, None, None)
    error = aiohttp.ClientConnectorCertificateError(key, unknown_issuer)
    assert "--ca-file FILE" in reason_of(error, DIRECTLY, "till")
    told = reason_of(error, DIRECTLY, "default")
    assert told.endswith("name that CA's file: endpoint_ca_file in the settings")
