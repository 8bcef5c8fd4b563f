"""Requests through a proxy: TLS is the endpoint's, and what the proxy responds never counts for a delivery."""

from __future__ import annotations

import asyncio
import errno
import re
import resource
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc_bridge import __version__
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.exhaustion import lowest_free_descriptor
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault
from cdc_bridge.transport.reach import Reached, Unreached, reach
from tests.support.certificates import Certificates
from tests.support.http_proxy import ESTABLISHED, ProxyConnection, Script, ScriptedProxy, establishing, responding
from tests.support.receiver import Receiver
from tests.support.scripted_connections import OK, ScriptedConnection, ScriptedReceiver, accept_all
from tests.support.waiting import until
from tests.unit.runtime.scripted import TILL
from tests.unit.transport.test_client import MESSAGE, raising

pytestmark = pytest.mark.departs_from_contract("its bodies are short ones, not from a database")

USER, PASSWORD = "unmistakable-user", "unmistakable-password"
BASIC = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
QUICK: dict[str, Any] = {"connect_timeout_seconds": 0.3}
GUARDED = "is a link-local, metadata or multicast address"


def port_of(receiver: Receiver) -> int:
    found = re.search(r":(\d+)/", receiver.url)
    assert found is not None
    return int(found[1])


@asynccontextmanager
async def transport_to(endpoint: Endpoint) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(endpoint, lambda: True)
    try:
        yield transport
    finally:
        await transport.close()


async def attempt_at(endpoint: Endpoint) -> Attempt:
    async with transport_to(endpoint) as transport:
        attempt = await transport.send(MESSAGE)
    assert attempt is not None
    return attempt


@pytest.fixture
async def till_example(certificates: Certificates) -> AsyncIterator[Receiver]:
    """A receiver with a certificate for till.example, a name that this machine cannot resolve."""
    receiver = Receiver(certificates.for_another_host)
    await receiver.start()
    yield receiver
    await receiver.stop()


async def test_endpoint_s_name_is_resolved_by_the_proxy_and_its_connection_is_kept(
    till_example: Receiver, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", raising(AssertionError("a name was resolved here")))
    async with ScriptedProxy(establishing(port_of(till_example))) as proxy:
        till = replace(TILL, url="https://till.example/x?y=1", ca_file=certificates.ca_file)
        given = proxy.url.replace("//", f"//{USER}:{PASSWORD}@")
        async with transport_to(replace(till, proxy=given)) as transport:
            attempts = [await transport.send(MESSAGE), await transport.send(MESSAGE)]
        assert [attempt and attempt.outcome for attempt in attempts] == [Delivered(200), Delivered(200)]
        await until(lambda: proxy.open == 0, "the connection is closed")
    (head,) = proxy.heads
    assert head.decode().split("\r\n") == [
        "CONNECT till.example:443 HTTP/1.1",
        "Host: till.example:443",
        f"User-Agent: cdc-bridge/{__version__}",
        f"Proxy-Authorization: Basic {BASIC}",
        "",
        "",
    ]
    assert [request.path for request in till_example.requests] == ["/x?y=1", "/x?y=1"]
    assert all("proxy-authorization" not in request.headers for request in till_example.requests)
    assert all(request.headers["host"] == "till.example" for request in till_example.requests)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://till.example", "till.example:443"),
        ("https://till.example:8443/x", "till.example:8443"),
        ("https://TILL.example./x", "till.example.:443"),
        ("https://b\u00fccher.example/x", "xn--bcher-kva.example:443"),
        ("https://192.0.2.1/x", "192.0.2.1:443"),
        ("https://[2001:DB8::1]/x", "[2001:db8::1]:443"),
    ],
)
async def test_proxy_is_asked_for_the_host_of_the_url(url: str, target: str) -> None:
    async with ScriptedProxy(responding(b"HTTP/1.1 502 Bad\r\n\r\n")) as proxy:
        attempt = await attempt_at(replace(TILL, url=url, proxy=proxy.url))
    assert proxy.heads[0].split(b"\r\n")[:2] == [f"CONNECT {target} HTTP/1.1".encode(), f"Host: {target}".encode()]
    assert b"Authorization" not in proxy.heads[0]
    assert isinstance(attempt.outcome, Failed)
    assert f"HTTP 502, it cannot connect to {target}" in attempt.outcome.reason


HTML = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<html"

NO_TUNNEL = [
    (responding(b"HTTP/1.1 407 Denied\r\n\r\n"), "rejected the connection: HTTP 407, it wants a user and password"),
    (responding(b"HTTP/1.1 407 Denied\r\n"), "rejected the connection: HTTP 407"),
    (responding(b"HTTP/1.0 401 Unauthorized\r\n\r\n"), "rejected the connection: HTTP 401, it wants a user"),
    (
        responding(b"HTTP/1.1 403 No\r\n\r\n"),
        "rejected the connection: HTTP 403, it allows no connection to localhost:",
    ),
    (responding(b"HTTP/1.1 404 No\r\n\r\n"), "rejected the connection: HTTP 404, it may be no HTTP proxy"),
    (responding(b"HTTP/1.1 405 No\r\n\r\n"), "rejected the connection: HTTP 405, it may be no HTTP proxy"),
    (responding(b"HTTP/1.1 410 Gone\r\n\r\n"), "rejected the connection: HTTP 410"),
    (responding(b"HTTP/1.1 422 No\r\n\r\n"), "rejected the connection: HTTP 422"),
    (responding(b"HTTP/1.1 429 No\r\nretry-after: 60\r\n\r\n"), "rejected the connection: HTTP 429"),
    (responding(b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n"), "rejected the connection: HTTP 302"),
    (responding(b"HTTP/1.1 500 Unable to connect\r\n\r\n"), "HTTP 500, it cannot connect to localhost:"),
    (responding(b"HTTP/1.1 503 No\r\nretry-after: 60\r\n\r\n"), "HTTP 503, it cannot connect to localhost:"),
    (responding(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 504 No\r\n\r\n"), "HTTP 504, it cannot connect"),
    (responding(b"HTTP/1.1 600 What\r\n\r\n"), "rejected the connection: HTTP 600"),
    (responding(b"HTTP/1.1 407 Denied\r\n\r\n" + b"x" * 100_000, closes=False), "HTTP 407"),
    (responding(HTML), "sent bytes before TLS with the endpoint began"),
    (responding(HTML, closes=False), "sent bytes before TLS with the endpoint began"),
    (responding(ESTABLISHED + OK, closes=False), "sent bytes before TLS with the endpoint began"),
    (responding(b"HTTP/1.1 204 No Content\r\n\r\n" + OK), "sent bytes before TLS with the endpoint began"),
    (responding(b"SSH-2.0-OpenSSH_9.2\r\n", closes=False), "does not speak HTTP at this port"),
    (responding(b"\x15\x03\x01\x00\x02\x02\x46", closes=False), "does not speak HTTP at this port"),
    (responding(b"HTTP/2 200\r\n\r\n", closes=False), "does not speak HTTP at this port"),
    (responding(b"HTTP/1.1 2000 OK\r\n\r\n", closes=False), "does not speak HTTP at this port"),
    (responding(b"HTTP/1.1 OK\r\n\r\n", closes=False), "does not speak HTTP at this port"),
    (responding(b"\r\n\r\n", closes=False), "does not speak HTTP at this port"),
    (responding(), "closed the connection without a response"),
    (responding(b"HTTP/1.1 200"), "closed the connection without a response"),
    (responding(b"HTTP/1.1 200 OK\r\nx: y\r\n"), "closed the connection without a response"),
    (
        responding(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000, closes=False),
        "sent headers that do not end within 64 KiB",
    ),
]


def told_by(attempt: Attempt) -> str:
    """Return why a request came to nothing that counts against the endpoint alone, and against no delivery."""
    outcome = attempt.outcome
    assert isinstance(outcome, Failed)
    assert (outcome.status, outcome.fault, outcome.retry_after_seconds) == (None, Fault.ENDPOINT, None)
    assert attempt.flaw is None
    return outcome.reason


@pytest.mark.parametrize(("script", "words"), NO_TUNNEL, ids=[words[-40:] for _, words in NO_TUNNEL])
async def test_what_the_proxy_responds_is_never_the_endpoint_s_response(
    script: Script, words: str, receiver: Receiver, certificates: Certificates
) -> None:
    async with ScriptedProxy(script, script, establishing(port_of(receiver))) as proxy:
        till = replace(TILL, url=receiver.url, ca_file=certificates.ca_file, proxy=proxy.url)
        async with transport_to(till) as transport:
            attempt = await transport.send(MESSAGE)
            assert attempt is not None
            reason = told_by(attempt)
            assert reason.startswith(f"the proxy {proxy.url} ")
            assert words in reason
            assert receiver.requests == []
            await until(lambda: proxy.open == 0, "the connection is closed")
            assert await reach(till) == Unreached(reason, transport.route)
            again = await transport.send(MESSAGE)
        assert again is not None
        assert again.outcome == Delivered(200)
    assert len(receiver.requests) == 1


BYTES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 410 Gone\r\n", b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 101 Upgrade\r\n",
        b"HTTP/1.1 422 No\r\n\r\n", b"HTTP/1.1 ", b"content-length: 0\r\n", b"retry-after: 9\r\n", b"\r\n", b"\n",
        OK, b"\x16\x03\x03", b"\0",
    ]
)  # fmt: skip


@given(parts=st.lists(BYTES | st.binary(max_size=20), max_size=6))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_the_proxy_sends_is_the_endpoint_s_fault_at_most(
    parts: list[bytes], certificates: Certificates
) -> None:
    async with ScriptedProxy(responding(*parts)) as proxy:
        till = replace(TILL, url="https://till.example/", ca_file=certificates.ca_file, proxy=proxy.url)
        assert proxy.url in told_by(await attempt_at(till))


async def test_credentials_that_the_proxy_does_not_accept_are_told_and_not_repeated(receiver: Receiver) -> None:
    rejection = f"HTTP/1.1 407 {BASIC} {PASSWORD}\r\nx: {PASSWORD}\r\n\r\n{PASSWORD}".encode()
    async with ScriptedProxy(responding(rejection)) as proxy:
        given = proxy.url.replace("//", f"//{USER}:{PASSWORD}@")
        reason = told_by(await attempt_at(replace(TILL, url=receiver.url, proxy=given)))
        assert reason == (
            f"the proxy {proxy.url} rejected the connection: HTTP 407, it does not accept the user and password"
        )


async def resets(connection: ProxyConnection) -> None:
    connection.reset()


async def establishes_and_closes(connection: ProxyConnection) -> None:
    await connection.write(ESTABLISHED)
    connection.close()


async def establishes_and_resets(connection: ProxyConnection) -> None:
    await connection.write(ESTABLISHED)
    await connection.read_some()
    connection.reset()


async def establishes_and_sends_html(connection: ProxyConnection) -> None:
    await connection.write(ESTABLISHED)
    await connection.read_some()
    await connection.write(HTML)
    await connection.wait_until_closed()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (resets, "reset the connection without a response"),
        (establishes_and_closes, "this port may not speak HTTPS (through the proxy "),
        (establishes_and_resets, "this port may not speak HTTPS (through the proxy "),
        (
            establishes_and_sends_html,
            "the endpoint does not speak TLS at this port (wrong version number) (through the",
        ),
    ],
)
async def test_end_of_a_tunnel_names_the_proxy(script: Script, words: str, receiver: Receiver) -> None:
    async with ScriptedProxy(script) as proxy:
        till = replace(TILL, url=receiver.url, proxy=proxy.url)
        reason = told_by(await attempt_at(till))
        assert words in reason
        assert proxy.url in reason
        await until(lambda: proxy.open == 0, "the connection is closed")
        found = await reach(till)
    assert isinstance(found, Unreached)
    assert found.reason == reason


async def establishes_and_hangs(connection: ProxyConnection) -> None:
    await connection.write(ESTABLISHED)
    await connection.wait_until_closed()


@pytest.mark.parametrize(
    ("script", "limits", "words"),
    [
        (
            responding(closes=False),
            QUICK,
            "no response from the proxy {} for a connection to localhost:{} within 0.3 s",
        ),
        (
            responding(b"HTTP/1.1 200 OK\r\n", closes=False),
            QUICK,
            "no response from the proxy {} for a connection to localhost:{} within 0.3 s",
        ),
        (establishes_and_hangs, QUICK, "no TLS with the endpoint through the proxy {} within 0.3 s"),
        (responding(closes=False), {"timeout_seconds": 0.3}, "no response within 0.3 s (through the proxy {})"),
        (establishes_and_hangs, {"timeout_seconds": 0.3}, "no response within 0.3 s (through the proxy {})"),
    ],
)
async def test_proxy_that_hangs_is_told(script: Script, limits: dict[str, Any], words: str, receiver: Receiver) -> None:
    async with ScriptedProxy(script) as proxy:
        till = replace(TILL, url=receiver.url, proxy=proxy.url, **limits)
        assert told_by(await attempt_at(till)) == words.format(proxy.url, port_of(receiver))
        await until(lambda: proxy.open == 0, "the connection is closed")
        found = await reach(till)
        assert isinstance(found, Unreached)
        assert proxy.url in found.reason
        await until(lambda: proxy.open == 0, "the connection is closed")


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        (
            "http://127.0.0.1:9",
            "cannot connect to the proxy http://127.0.0.1:9: connection refused; nothing listens there",
        ),
        ("http://nothing.invalid:3128", "the name of the proxy http://nothing.invalid:3128 cannot be resolved: "),
        ("http://169.254.169.254", "address of the proxy http://169.254.169.254:80 not allowed: 169.254.169.254 is a "),
        ("http://[64:ff9b::a9fe:a9fe]:1", "address of the proxy http://[64:ff9b::a9fe:a9fe]:1 not allowed: "),
    ],
)
async def test_proxy_that_cannot_be_reached_is_told(proxy: str, words: str, receiver: Receiver) -> None:
    given = proxy.replace("//", f"//{USER}:{PASSWORD}@")
    till = replace(TILL, url=receiver.url, proxy=given)
    reason = told_by(await attempt_at(till))
    assert reason.startswith(words)
    assert PASSWORD not in reason
    found = await reach(till)
    assert isinstance(found, Unreached)
    assert found.reason == reason


async def test_address_guard_is_for_the_proxy_s_address(certificates: Certificates) -> None:
    async with ScriptedProxy(responding(b"HTTP/1.1 403 No\r\n\r\n")) as proxy:
        guarded = replace(TILL, url="https://169.254.169.254/", proxy=proxy.url)
        reason = told_by(await attempt_at(guarded))
    assert "it allows no connection to 169.254.169.254:443" in reason
    assert GUARDED in told_by(await attempt_at(replace(guarded, proxy=None)))


@pytest.mark.parametrize("name", ["expired", "for_another_host"])
async def test_certificate_is_the_endpoint_s_and_verified(name: str, certificates: Certificates) -> None:
    receiver = Receiver(getattr(certificates, name))
    await receiver.start()
    try:
        async with ScriptedProxy(establishing(port_of(receiver))) as proxy:
            till = replace(TILL, url=receiver.url, ca_file=certificates.ca_file, proxy=proxy.url)
            reason = told_by(await attempt_at(till))
    finally:
        await receiver.stop()
    assert reason.startswith("the endpoint's certificate cannot be verified: ")
    assert reason.endswith(f" (through the proxy {proxy.url})")
    assert receiver.requests == []


async def test_unknown_ca_is_not_trusted_through_a_proxy(receiver: Receiver, certificates: Certificates) -> None:
    async with ScriptedProxy(establishing(port_of(receiver))) as proxy:
        till = replace(TILL, url=receiver.url, ca_file=certificates.other_ca_file, proxy=proxy.url)
        assert "the endpoint's certificate cannot be verified: " in told_by(await attempt_at(till))
    assert receiver.requests == []


async def test_client_certificate_is_for_the_endpoint(certificates: Certificates) -> None:
    receiver = Receiver(certificates.asks_for_a_certificate)
    await receiver.start()
    try:
        async with ScriptedProxy(establishing(port_of(receiver))) as proxy:
            till = replace(TILL, url=receiver.url, ca_file=certificates.ca_file, proxy=proxy.url)
            assert told_by(await attempt_at(till)).endswith(f" (through the proxy {proxy.url})")
            ours = replace(
                till,
                client_certificate_file=certificates.client_certificate_file,
                client_key_file=certificates.client_key_file,
            )
            assert (await attempt_at(ours)).outcome == Delivered(200)
    finally:
        await receiver.stop()


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy\r\n\r\n"],
        [b"HTTP/1.1 200\r\n\r\n"],
        [b"HTTP/1.1 299 Fine\n\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", ESTABLISHED],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"],  # They mean nothing here.
        [bytes([byte]) for byte in ESTABLISHED],
    ],
)
async def test_tunnel_is_known_in_every_form(
    parts: list[bytes], receiver: Receiver, certificates: Certificates
) -> None:
    async def script(connection: ProxyConnection) -> None:
        await responding(*parts)(connection)
        await connection.forward(port_of(receiver))

    async with ScriptedProxy(script) as proxy:
        till = replace(TILL, url=receiver.url, ca_file=certificates.ca_file, proxy=proxy.url)
        assert (await attempt_at(till)).outcome == Delivered(200)


async def test_connection_test_says_which_way_it_went(receiver: Receiver, certificates: Certificates) -> None:
    async with ScriptedProxy(establishing(port_of(receiver))) as proxy:
        found = await reach(replace(TILL, url=receiver.url, ca_file=certificates.ca_file, proxy=proxy.url))
        await until(lambda: proxy.open == 0, "the connection is closed")
    assert isinstance(found, Reached)
    assert found.address == f"127.0.0.1:{proxy.port}"
    assert str(found.route) == f"through the proxy {proxy.url}"
    assert found.certificate_ends_at is not None


async def test_environment_names_the_proxy_and_its_exceptions(
    till_example: Receiver, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    till = replace(TILL, url="https://till.example/", ca_file=certificates.ca_file)
    async with ScriptedProxy(establishing(port_of(till_example))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with transport_to(till) as transport:
            attempt = await transport.send(MESSAGE)
        assert attempt is not None
        assert attempt.outcome == Delivered(200)
        assert str(transport.route) == f"through the proxy {proxy.url} (HTTPS_PROXY)"
        monkeypatch.setenv("NO_PROXY", ".example")
        monkeypatch.setattr(socket, "getaddrinfo", raising(socket.gaierror(socket.EAI_NONAME, "Name not known")))
        assert told_by(await attempt_at(till)) == "the name till.example cannot be resolved: Name not known"
        assert len(proxy.heads) == 1


async def test_environment_s_proxy_that_cannot_be_used_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"socks5://{USER}:{PASSWORD}@127.0.0.1:1080")
    with pytest.raises(ValueError, match="https_proxy in the environment has to be an HTTP proxy") as rejected:
        HttpTransport(replace(TILL, url="https://till.example/"), lambda: True)
    assert PASSWORD not in str(rejected.value)


async def test_request_that_meets_a_dead_tunnel_is_sent_again(
    scripted_receiver: ScriptedReceiver, certificates: Certificates
) -> None:
    async def once(connection: ScriptedConnection) -> None:
        await connection.request()
        await connection.write(OK)
        await connection.head()
        connection.close()

    scripted_receiver.scripts = [once, accept_all]
    async with ScriptedProxy(establishing(scripted_receiver.port)) as proxy:
        till = replace(TILL, url=scripted_receiver.url, ca_file=certificates.ca_file, proxy=proxy.url)
        async with transport_to(till) as transport:
            attempts = [await transport.send(MESSAGE) for _ in range(2)]
    assert [attempt and attempt.outcome for attempt in attempts] == [Delivered(200), Delivered(200)]
    assert len(proxy.heads) == 2


async def test_request_is_withheld_when_the_lease_ends_while_the_tunnel_is_made(
    receiver: Receiver, certificates: Certificates
) -> None:
    may_send = True

    async def script(connection: ProxyConnection) -> None:
        nonlocal may_send
        may_send = False
        await establishing(port_of(receiver))(connection)

    async with ScriptedProxy(script) as proxy:
        till = replace(TILL, url=receiver.url, ca_file=certificates.ca_file, proxy=proxy.url)
        transport = HttpTransport(till, lambda: may_send)
        assert await transport.send(MESSAGE) is None
        await transport.close()
    assert receiver.requests == []


async def test_cancelled_request_leaves_no_connection_with_the_proxy(receiver: Receiver) -> None:
    async with (
        ScriptedProxy(responding(closes=False)) as proxy,
        transport_to(replace(TILL, url=receiver.url, proxy=proxy.url)) as transport,
    ):
        sending = asyncio.create_task(transport.send(MESSAGE))
        await until(lambda: proxy.heads, "the proxy is asked")
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await until(lambda: proxy.open == 0, "the connection is closed")


async def test_what_this_process_lacks_is_not_the_proxy_s_fault(
    receiver: Receiver, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedProxy(establishing(port_of(receiver))) as proxy:
        till = replace(TILL, url=receiver.url, ca_file=certificates.ca_file, proxy=proxy.url)
        async with transport_to(till) as transport:
            with monkeypatch.context() as patched:
                patched.setattr("socket.socket.__init__", raising(OSError(errno.ENOBUFS, "No buffer space available")))
                memory = await transport.send(MESSAGE)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            lowest_free = lowest_free_descriptor()
            assert lowest_free is not None
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
                descriptors = await transport.send(MESSAGE)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            again = await transport.send(MESSAGE)
    assert memory is not None
    assert memory.outcome == Failed(None, "this process ran out of memory", Fault.OURS)
    assert descriptors is not None
    assert isinstance(descriptors.outcome, Failed)
    assert descriptors.outcome.fault is Fault.OURS
    assert again is not None
    assert again.outcome == Delivered(200)
