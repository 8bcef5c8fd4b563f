"""Sends one request: a POST over verified TLS, and returns its outcome.

The bytes sent are the bytes signed. Redirects are not followed and cookies are not kept. The URL is sent as it was
given. Of a response only the status counts: a short body is read, so that the connection can be reused, and dropped,
but for the beginning of a failed one if the endpoint's option ``keep_responses`` says so.

An endpoint may give up an idle connection at any time, and a request may find that out. It is then sent once more at
once, on a new connection. The endpoint may have got it, and gets it twice: at least once allows that, and the
``webhook-id`` is the same.

Whether the request may be sent is asked at the last moment, when its body is about to be written: connecting takes
time, and the process may have been suspended meanwhile (:mod:`~cdc_bridge.endpoints.lease`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Protocol
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiohttp.http import HttpVersion, HttpVersion11
from multidict import CIMultiDict
from yarl import URL

from cdc_bridge import __version__
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import shortened
from cdc_bridge.transport.connection import EndpointConnection, connection_of
from cdc_bridge.transport.connector import note_addresses, only_new_connections
from cdc_bridge.transport.exhaustion import exhausted_resource
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault, Outcome, judge
from cdc_bridge.transport.pools import ConnectionPools
from cdc_bridge.transport.proxy import route_of
from cdc_bridge.transport.reasons import reason_of, timeout_reason
from cdc_bridge.transport.response_head import BODY_CUT_OFF, BODY_TOO_LONG
from cdc_bridge.transport.response_text import KEPT_BYTES, response_text

_RESPONSE_LIMIT_BYTES = 64 * 1024
_RESPONSE_TIMEOUT_SECONDS = 1.0
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_ENDS = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
_PIECE_BYTES = 64 * 1024
"""Of a body that is written at once: so it is known how far the endpoint has read."""


class Content(Protocol):
    """What is posted."""

    @property
    def id(self) -> str:
        """Names the body."""

    @property
    def body(self) -> bytes:
        """The body."""

    def headers(self, at: datetime, secrets: Sequence[bytes]) -> dict[str, str]:
        """Return the headers of an attempt, signed with the endpoint's keys."""


class HttpTransport:
    """Sends requests to one endpoint over kept-alive connections. While idle it holds none of its own."""

    def __init__(
        self,
        endpoint: Endpoint,
        may_send: Callable[[], bool],
        pools: ConnectionPools | None = None,
    ) -> None:
        """Prepare to send.

        Args:
            endpoint: The destination.
            may_send: Asked when a body is about to be written.
            pools: The connections, shared with other endpoints; ``None``: it has its own.

        Raises:
            OSError: A certificate file cannot be read, or holds none (``ssl.SSLError`` is an ``OSError``).
            ValueError: The environment names a proxy that cannot be used.
        """
        self.route = route_of(endpoint)
        self._endpoint = endpoint
        self._may_send = may_send
        self._limits = _limits(endpoint, endpoint.timeout_seconds)
        self._url = _request_url(endpoint.url)
        self._headers = CIMultiDict(_headers(endpoint))
        self._shares_pools = pools is not None
        self._pools = pools or ConnectionPools()
        self._pool_key = self._pools.key_of(endpoint, self.route.proxy)

    async def close(self) -> None:
        """Close the connections, over TLS in order, unless they are shared."""
        if not self._shares_pools:
            await self._pools.close()

    async def connect(self) -> Connection:
        """Connect as a request does, and send nothing.

        Raises:
            TimeoutError: It took longer than the endpoint's connection timeout.
            aiohttp.ClientError: It failed.
        """
        with self._pools.pool(self._pool_key) as pool:
            request = aiohttp.ClientRequest("POST", self._url, loop=asyncio.get_running_loop(), session=pool.session)
            return await pool.connector.connect(request, [], self._limits)

    async def send(self, message: Content) -> Attempt | None:
        """Send a message and return the attempt; ``None``: it may not be sent any more. Raises only on cancellation."""
        name, began_at, began = self._endpoint.name, datetime.now(UTC), monotonic()
        headers = self._headers.copy()
        headers.update(message.headers(began_at, self._endpoint.secrets_at(began_at)))
        tried = note_addresses()
        with self._pools.pool(self._pool_key) as pool:
            keep = pool.connector.trusts(name)
            if not keep:
                headers["connection"] = "close"
            body = _GuardedBody(message.body, name, self._may_send, keep_connection=keep)
            result = await self._post(pool.session, body, headers, self._limits)
            if result.found_dead_connection and not body.withheld:
                body = _GuardedBody(message.body, name, self._may_send, keep_connection=keep)
                left = max(0.001, began + self._endpoint.timeout_seconds - monotonic())
                with only_new_connections():  # The idle ones may be no better.
                    result = await self._post(pool.session, body, headers, _limits(self._endpoint, left))
            if body.withheld:
                return None
            unasked = pool.connector.unasked(name)
        if body.connection is None:
            address, protocol = shortened(", ".join(tried)) or None, None
        else:
            address, protocol = body.connection.address, self._protocol(body.connection, result.version)
        duration = monotonic() - began
        flaw = result.flaw or unasked
        return Attempt(message.id, began_at, duration, result.outcome, flaw, address, protocol, result.response)

    def _protocol(self, connection: EndpointConnection, version: HttpVersion) -> str:
        spoken = [f"HTTP/{version.major}.{version.minor}"]
        if connection.tls is not None:
            spoken.append(connection.tls)
        if self.route.proxy is not None:
            spoken.append(f"through the proxy {self.route.proxy}")
        return ", ".join(spoken)

    async def _post(
        self,
        session: aiohttp.ClientSession,
        body: _GuardedBody,
        headers: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
    ) -> _Result:
        try:
            async with session.post(
                self._url, data=body, headers=headers, allow_redirects=False, timeout=limits
            ) as response:
                connection = body.connection_used
                outcome = _judge(response.status, response.headers, early=connection.answered_early)
                kept = bytearray() if self._endpoint.keep_responses and isinstance(outcome, Failed) else None
                flaw = await _drain(response, kept)
                if flaw is not None:
                    response.close()
                result = _Result(outcome, connection.flaw or flaw, version=response.version or HttpVersion11)
                if kept is not None:
                    headers = response.headers
                    result.response = response_text(
                        bytes(kept), headers.get("content-type", ""), headers.get("content-encoding", "")
                    )
                return result
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
            return _Result(Failed(None, reason_of(error, self.route, self._endpoint.name)), found_dead_connection=dead)


@dataclass(slots=True)
class _Result:
    """What a request came to on one connection."""

    outcome: Outcome
    flaw: str | None = None
    found_dead_connection: bool = False
    """Whether the endpoint had given up the connection before, so that the request can be sent again."""
    version: HttpVersion = HttpVersion11
    response: str | None = None
    """What it began with, if that is kept."""


class _GuardedBody(aiohttp.Payload):
    """A body that is written only if the request may still be sent, and nothing was received for it yet."""

    _autoclose = True

    def __init__(self, body: bytes, endpoint: str, may_send: Callable[[], bool], *, keep_connection: bool) -> None:
        super().__init__(body, content_type="application/json")
        self._endpoint = endpoint
        self._keep_connection = keep_connection
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
        connection.begin_request(self._endpoint, is_last=not self._keep_connection)
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


async def _drain(response: aiohttp.ClientResponse, kept: bytearray | None) -> str | None:
    """Read the rest of a response, so that its connection can be reused; return why it cannot be.

    Args:
        response: The response.
        kept: Gets what it begins with.
    """
    if response.content.at_eof():
        return None
    unread = _RESPONSE_LIMIT_BYTES
    try:
        async with asyncio.timeout(_RESPONSE_TIMEOUT_SECONDS):
            while unread > 0 and not response.content.at_eof():
                read = await response.content.read(unread)
                unread -= len(read)
                if kept is not None:
                    kept += read[: KEPT_BYTES - len(kept)]
    except TimeoutError:
        return BODY_TOO_LONG
    except (aiohttp.ClientError, OSError):
        return BODY_CUT_OFF
    return None if unread > 0 else BODY_TOO_LONG
