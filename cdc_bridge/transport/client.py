"""Sends one request: a POST over verified TLS, and returns its outcome.

The bytes sent are the bytes signed. Redirects are not followed and cookies are not kept. The URL is sent as it was
given. Of a response only the status counts: a short body is read, so that the connection can be reused, and dropped.

An endpoint may give up an idle connection at any time, and a request may find that out. It is then sent once more at
once, on a new connection. The endpoint may have got it, and gets it twice: at least once allows that, and the
``webhook-id`` is the same.

Whether the request may be sent is asked at the last moment, when its body is about to be written: connecting takes
time, and the process may have been suspended meanwhile (:mod:`~cdc_bridge.endpoints.lease`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from yarl import URL

from cdc_bridge import __version__
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport.address_guard import guarded_socket_factory
from cdc_bridge.transport.connection import EndpointConnection, EndpointConnector, connection_of
from cdc_bridge.transport.exhaustion import exhausted_resource, lowest_free_descriptor
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault, Outcome, judge
from cdc_bridge.transport.proxy import route_of
from cdc_bridge.transport.reasons import reason_of, timeout_reason
from cdc_bridge.transport.resolver import CACHE_SECONDS, EndpointResolver
from cdc_bridge.transport.response_head import BODY_CUT_OFF, BODY_TOO_LONG

if TYPE_CHECKING:
    from cdc_bridge.transport.message import Message

_RESPONSE_LIMIT_BYTES = 64 * 1024
_RESPONSE_TIMEOUT_SECONDS = 1.0
_KEEPALIVE_SECONDS = 60.0
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_ENDS = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
_PIECE_BYTES = 64 * 1024
"""Of a body that is written at once: so it is known how far the endpoint has read."""


class HttpTransport:
    """Sends requests to one endpoint over kept-alive connections."""

    def __init__(
        self, endpoint: Endpoint, may_send: Callable[[], bool], may_keep_connection: Callable[[], bool] = lambda: True
    ) -> None:
        """Prepare a session; must run inside the event loop.

        Args:
            endpoint: The destination.
            may_send: Asked when a body is about to be written.
            may_keep_connection: Asked whether a request's connection may stay open after it.

        Raises:
            OSError: A certificate file cannot be read, or holds none (``ssl.SSLError`` is an ``OSError``).
            ValueError: The environment names a proxy that cannot be used.
        """
        self.route = route_of(endpoint)
        self._endpoint = endpoint
        self._may_send = may_send
        self._may_keep_connection = may_keep_connection
        self._limits = _limits(endpoint, endpoint.timeout_seconds)
        self._url = _request_url(endpoint.url)
        self._connector = EndpointConnector(
            self.route.proxy,
            limit=endpoint.max_in_flight,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            resolver=EndpointResolver(endpoint.connect_timeout_seconds),
            ttl_dns_cache=CACHE_SECONDS,
            ssl=tls_context(endpoint),
            socket_factory=guarded_socket_factory(only_loopback=endpoint.url.startswith("http://")),
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_headers(endpoint),
            skip_auto_headers=("accept-encoding",),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close the connections, over TLS in order."""
        await self._session.close()

    async def connect(self) -> Connection:
        """Connect as a request does, and send nothing.

        Raises:
            TimeoutError: It took longer than the endpoint's connection timeout.
            aiohttp.ClientError: It failed.
        """
        request = aiohttp.ClientRequest("POST", self._url, loop=asyncio.get_running_loop(), session=self._session)
        return await self._connector.connect(request, [], self._limits)

    async def send(self, message: Message) -> Attempt | None:
        """Send a message and return the attempt; ``None``: it may not be sent any more. Raises only on cancellation."""
        began_at, began = datetime.now(UTC), monotonic()
        headers = message.headers(began_at, self._endpoint.secrets_at(began_at))
        body = _GuardedBody(message.body, self._may_send)
        if not self._may_keep_connection():
            headers["connection"] = "close"
        result = await self._post(body, headers, self._limits)
        if result.found_dead_connection and not body.withheld:
            self._connector.close_idle()  # They are no better.
            body = _GuardedBody(message.body, self._may_send)
            left = max(0.001, began + self._endpoint.timeout_seconds - monotonic())
            result = await self._post(body, headers, _limits(self._endpoint, left))
        if body.withheld:
            return None
        flaw = result.flaw or self._connector.unasked
        self._connector.unasked = None
        return Attempt(message.id, began_at, monotonic() - began, result.outcome, flaw)

    async def _post(self, body: _GuardedBody, headers: Mapping[str, str], limits: aiohttp.ClientTimeout) -> _Result:
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False, timeout=limits
            ) as response:
                flaw = await _drain(response)
                if flaw is not None:
                    response.close()
                connection = body.connection_used
                outcome = _judge(response.status, response.headers, early=connection.answered_early)
                return _Result(outcome, connection.flaw or flaw)
        except TimeoutError as error:
            if body.connection is None or (head := body.connection.head) is None:
                return _Result(Failed(None, timeout_reason(error, self._endpoint, self.route)))
            early = not body.connection.has_written
            return _Result(_judge(head.status, dict(head.headers), early=early), head.flaw)
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError, MemoryError) as error:
            if (resource := exhausted_resource(error)) is not None:
                return _Result(Failed(None, f"this process ran out of {resource}", Fault.OURS))
            if isinstance(error, RuntimeError):
                raise
            if body.connection is None:  # There was none, or its end was noticed before anything was written.
                dead = isinstance(error, _ENDS) and not isinstance(error, aiohttp.ClientConnectorError)
            else:
                dead = body.connection.is_dead
            return _Result(Failed(None, reason_of(error, self.route)), found_dead_connection=dead)


@dataclass(slots=True)
class _Result:
    """What a request came to on one connection."""

    outcome: Outcome
    flaw: str | None = None
    found_dead_connection: bool = False
    """Whether the endpoint had given up the connection before, so that the request can be sent again."""


class _GuardedBody(aiohttp.Payload):
    """A body that is written only if the request may still be sent, and nothing was received for it yet."""

    _autoclose = True

    def __init__(self, body: bytes, may_send: Callable[[], bool]) -> None:
        super().__init__(body, content_type="application/json")
        self._size = len(body)
        self._may_send = may_send
        self.withheld = False
        self.connection: EndpointConnection | None = None
        """``None``: there was none yet."""

    @property
    def connection_used(self) -> EndpointConnection:
        """The connection, once there was a response."""
        if self.connection is None:
            raise RuntimeError("a response without a request")
        return self.connection

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text; a payload has to be able to."""
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body."""
        connection = self.connection = connection_of(writer)
        await connection.ensure_idle()
        self.withheld = not self._may_send()
        if self.withheld:
            raise ConnectionAbortedError
        connection.begin_request()
        last = len(self._value) - _PIECE_BYTES
        for start in range(0, len(self._value), _PIECE_BYTES):
            if start >= last:
                connection.end_request()
            await writer.write(self._value[start : start + _PIECE_BYTES])


def _judge(status: int, headers: Mapping[str, str], *, early: bool) -> Outcome:
    outcome = judge(status, headers, datetime.now(UTC))
    if early and isinstance(outcome, Delivered):
        return Failed(None, f"the endpoint responded HTTP {status} before it had received the request")
    return outcome


def _limits(endpoint: Endpoint, seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds, sock_connect=endpoint.connect_timeout_seconds)


def _request_url(text: str) -> URL:
    """Return a URL that is sent as it was given: a server may look at every character of it, as for a signed URL.

    Only the host's name is normalised, and what is not ASCII encoded: neither can be sent otherwise.
    """
    given = urlsplit(text)
    path, query = (quote(part, safe=_ASCII) for part in (given.path, given.query))
    return URL(f"{URL(text).origin()}{path}{query and '?'}{query}", encoded=True)


def _headers(endpoint: Endpoint) -> dict[str, str]:
    configured = dict(endpoint.headers)
    # Header names ignore case: sent twice, a strict server rejects every request.
    if any(name.lower() == "user-agent" for name in configured):
        return configured
    return {"user-agent": f"cdc-bridge/{__version__}"} | configured


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the TLS context that verifies an endpoint and holds our client certificate for it.

    Raises:
        OSError: A certificate file cannot be read, or holds none.
    """
    # Not ssl.create_default_context, which writes the keys of every connection to $SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Not what Python has as a default: with VERIFY_X509_STRICT, an upgrade would reject many private CAs.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST
    if endpoint.ca_file is None:
        context.load_default_certs()
        if lowest_free_descriptor() is None:  # Then OpenSSL loads none, and does not say so.
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    else:
        context.load_verify_locations(endpoint.ca_file)
    if endpoint.client_certificate_file is not None:
        # Without a password callback OpenSSL would ask for it on the terminal.
        context.load_cert_chain(endpoint.client_certificate_file, endpoint.client_key_file, password=lambda: "")
    return context


async def _drain(response: aiohttp.ClientResponse) -> str | None:
    """Read the rest of a response, so that its connection can be reused; return why it cannot be."""
    if response.content.at_eof():
        return None
    unread = _RESPONSE_LIMIT_BYTES
    try:
        async with asyncio.timeout(_RESPONSE_TIMEOUT_SECONDS):
            while unread > 0 and not response.content.at_eof():
                unread -= len(await response.content.read(unread))
    except TimeoutError:
        return BODY_TOO_LONG
    except (aiohttp.ClientError, OSError):
        return BODY_CUT_OFF
    return None if unread > 0 else BODY_TOO_LONG
