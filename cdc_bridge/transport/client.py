"""Sends one request: a POST over verified TLS, and returns its outcome.

The bytes sent are the bytes signed. Redirects are not followed, cookies are not kept and the environment's proxies are
not used. Of a response only the status counts: a short body is read, so that the connection can be reused, and dropped.

Whether the request may be sent is asked at the last moment, when its body is about to be written: connecting takes
time, and the process may have been suspended meanwhile (:mod:`~cdc_bridge.endpoints.lease`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from cdc_bridge import __version__
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport.address_guard import guarded_socket_factory
from cdc_bridge.transport.exhaustion import exhausted_resource, lowest_free_descriptor
from cdc_bridge.transport.outcome import Attempt, Failed, Fault, Outcome, judge
from cdc_bridge.transport.reasons import reason_of, timeout_reason
from cdc_bridge.transport.resolver import CACHE_SECONDS, EndpointResolver

if TYPE_CHECKING:
    from cdc_bridge.transport.message import Message

_RESPONSE_LIMIT_BYTES = 64 * 1024
_RESPONSE_TIMEOUT_SECONDS = 1.0
_KEEPALIVE_SECONDS = 60.0


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
        """
        self._endpoint = endpoint
        self._may_send = may_send
        self._may_keep_connection = may_keep_connection
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=endpoint.max_in_flight,
                keepalive_timeout=_KEEPALIVE_SECONDS,
                resolver=EndpointResolver(endpoint.connect_timeout_seconds),
                ttl_dns_cache=CACHE_SECONDS,
                ssl=tls_context(endpoint),
                socket_factory=guarded_socket_factory(only_loopback=endpoint.url.startswith("http://")),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=endpoint.timeout_seconds, sock_connect=endpoint.connect_timeout_seconds
            ),
            headers=_headers(endpoint),
            skip_auto_headers=("accept-encoding",),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def send(self, message: Message) -> Attempt | None:
        """Send a message and return the attempt; ``None``: it may not be sent any more. Raises only on cancellation."""
        began_at, began = datetime.now(UTC), monotonic()
        body = _GuardedBody(message.body, self._may_send)
        headers = message.headers(began_at, self._endpoint.secrets_at(began_at))
        outcome = await self._post(body, headers if self._may_keep_connection() else {**headers, "connection": "close"})
        return None if body.withheld else Attempt(message.id, began_at, monotonic() - began, outcome)

    async def _post(self, body: _GuardedBody, headers: Mapping[str, str]) -> Outcome:
        try:
            async with self._session.post(
                self._endpoint.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                outcome = judge(response.status, response.headers, datetime.now(UTC))
                if not await _drain(response):
                    response.close()
                return outcome
        except TimeoutError as error:
            return Failed(None, timeout_reason(error, self._endpoint))
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError, MemoryError) as error:
            if (resource := exhausted_resource(error)) is not None:
                return Failed(None, f"this process ran out of {resource}", Fault.OURS)
            if isinstance(error, RuntimeError):
                raise
            return Failed(None, reason_of(error))


class _GuardedBody(aiohttp.BytesPayload):
    """A body that is written only if the request may still be sent."""

    def __init__(self, body: bytes, may_send: Callable[[], bool]) -> None:
        super().__init__(body, content_type="application/json")
        self._may_send = may_send
        self.withheld = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self.withheld = not self._may_send()
        if self.withheld:
            raise ConnectionAbortedError
        await super().write_with_length(writer, content_length)


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


async def _drain(response: aiohttp.ClientResponse) -> bool:
    """Read the rest of a short, fast response, so that its connection can be reused; return whether it was one."""
    if response.content.at_eof():
        return True
    unread = _RESPONSE_LIMIT_BYTES
    try:
        async with asyncio.timeout(_RESPONSE_TIMEOUT_SECONDS):
            while unread > 0 and not response.content.at_eof():
                unread -= len(await response.content.read(unread))
    except (TimeoutError, aiohttp.ClientError, OSError):
        return False
    return unread > 0
