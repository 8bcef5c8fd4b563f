"""Connections that count a response only for its own request, and are closed after anything odd.

aiohttp's connections trust the endpoint: what arrives on an idle one becomes the response to the next request, and what
its parser rejects becomes an error, although the status line has said what the endpoint did. Both lose or repeat
deliveries, so :class:`EndpointConnection` watches the raw bytes, in four places:

* What arrives while no response is awaited, be the connection idle or a request about to be written, closes the
  connection. A request that was not written goes out on another one. Just before it is written, the socket is asked
  whether something is there that was not read yet.
* If the parser, or the end of the connection, interrupts a response whose status line is there, that status is the
  response (:mod:`~cdc_bridge.transport.response_head`).
* A response that is there before the request was written is known as such.
* After a 5xx or 408 the connection is not used again: a gateway that gave up waiting may still pass on what comes late.

A connection also has a maximum age, so that requests follow a name that gets another address.

Through a proxy, such a connection is made once the tunnel is there (:mod:`~cdc_bridge.transport.tunnel`), and gets
nothing of what the proxy sent.
"""

from __future__ import annotations

import asyncio
import random
import select
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohappyeyeballs
import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import set_exception as fail
from aiohttp.http import HttpVersion11, RawResponseMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDict, CIMultiDictProxy

from cdc_bridge.endpoints.proxy_address import ProxyAddress
from cdc_bridge.transport.response_head import BYTES_BEHIND, BYTES_UNASKED, ResponseHead, read_head
from cdc_bridge.transport.tunnel import ProxyFailed, ProxyUnreachable, request_tunnel

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

MAX_AGE_SECONDS = 60.0
_AGE_JITTER = 0.1
_HEAD_LIMIT_BYTES = 64 * 1024
_TLS_CLOSE_SECONDS = 1.0
"""How long to wait for the endpoint's part in closing TLS."""


class UnaskedBytes(aiohttp.ClientConnectionError):
    """The endpoint sent something on a new connection before it got a request. The request was not sent."""


class EndpointConnection(ResponseHandler):
    """A connection to an endpoint."""

    def __init__(self, loop: asyncio.AbstractEventLoop, age_seconds: float, on_unasked: Callable[[str], None]) -> None:
        """Prepare for a connection.

        Args:
            loop: The event loop.
            age_seconds: It is not used for a further request after so long.
            on_unasked: Called with what is wrong when bytes arrive that belong to no request.
        """
        super().__init__(loop)
        self._retires_at = loop.time() + age_seconds
        self._on_unasked = on_unasked
        self._poll = select.poll()
        self._requests = 0
        self._begun = False
        """Whether the request was written, in part at least."""
        self._written = False
        """Whether the whole request was handed to the transport."""
        self._answered = False
        """Whether the status of its response is known."""
        self._received = b""
        """What was received of the response before its status was known."""
        self.answered_early = False
        """Whether the response was there before the request was written."""
        self.flaw: str | None = None
        """What is wrong with the response; ``None``: nothing."""

    @property
    def is_dead(self) -> bool:
        """Whether a request that failed met a connection that the endpoint had given up.

        It had served a request before, and either nothing was written now or not a byte came back.
        """
        return self._requests > self._begun and not (self._begun and self._received)

    @property
    def head(self) -> ResponseHead | None:
        """What there is of a response that has not arrived whole, if its status is known."""
        return read_head(self._received) if self._begun and not self._answered else None

    @property
    def has_written(self) -> bool:
        """Whether the whole request was handed to the operating system, but for what TLS may have in its buffer."""
        return self._written and (self.transport is None or not self.transport.get_write_buffer_size())

    async def ensure_idle(self) -> None:
        """Make sure that nothing was received yet for the request that is about to be written.

        Raises:
            ConnectionAbortedError: The connection cannot be used.
        """
        self._begun = False
        if self._poll.poll(0):
            # It may be TLS's own, such as a ticket. In so many rounds the loop has read it, or learnt why TLS ended.
            for _ in range(5):
                await asyncio.sleep(0)
        if not super().is_connected() or self.exception() is not None:
            raise ConnectionAbortedError

    def begin_request(self) -> None:
        """Note that the request is about to be written: from now on a response is awaited."""
        self._requests += 1
        self._begun = True
        self._written = self._answered = self.answered_early = False
        self._received = b""
        self.flaw = None

    def end_request(self) -> None:
        """Note that the last of the request is about to be written: with it, all is in the transport's hands."""
        self._written = True

    # What follows overrides aiohttp's.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a connection."""
        super().connection_made(transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the endpoint."""
        if self._begun and not self._answered:
            if len(self._received) < _HEAD_LIMIT_BYTES:
                self._received += data
        elif data and (self._payload is None or self._payload.is_eof()):
            self._reject_unasked()
            return
        super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take a response's status and headers from the parser, those of interim responses too."""
        status = data[0].code
        if status == 101 or not 100 <= status < 200:
            if self._answered:  # a second one, in one go with the first
                self.flaw = BYTES_BEHIND
                self.force_close()
                return
            self._answered = True
            self.answered_early = not self.has_written
            if self.answered_early or status >= 500 or status == 408:
                self.force_close()
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Take what ends the response: as an error only if there is no status line."""
        if (head := self.head) is not None:
            self.flaw = head.flaw
            self.force_close()
            self.feed_data((_message(head), EMPTY_PAYLOAD))
            return
        if self._payload is not None and not self._payload.is_eof():
            fail(self._payload, aiohttp.ClientPayloadError(), exc)  # aiohttp leaves it waiting
        if self.exception() is None:  # What comes later only follows from it, as that nothing more can be written.
            super().set_exception(exc, *(() if exc_cause is None else (exc_cause,)))

    def is_connected(self) -> bool:
        """Return whether the connection can be used for a further request."""
        return super().is_connected() and self._loop.time() < self._retires_at

    @property
    def should_close(self) -> bool:
        """Whether the connection is to be closed after the response."""
        return super().should_close or self._loop.time() >= self._retires_at

    def _reject_unasked(self) -> None:
        self._on_unasked(BYTES_BEHIND if self._requests else BYTES_UNASKED)
        self.force_close()
        if self.transport is not None:
            self.transport.close()
        super().set_exception(aiohttp.ServerDisconnectedError() if self._requests else UnaskedBytes())


class EndpointConnector(aiohttp.TCPConnector):
    """Connects to an endpoint and keeps its connections."""

    def __init__(self, proxy: ProxyAddress | None = None, **options: Any) -> None:
        """Prepare to connect.

        Args:
            proxy: The proxy to connect through, for TLS only; ``None``: none.
            options: Those of aiohttp's connector.
        """
        super().__init__(**options)
        self._proxy = proxy
        self._factory = partial(self._new_connection)
        # Its parameter is deprecated, and without it TLS is not closed in order when the connector is closed.
        self._ssl_shutdown_timeout = _TLS_CLOSE_SECONDS
        self.unasked: str | None = None
        """What was wrong when bytes arrived that belong to no request; ``None``: none did."""

    def close_idle(self) -> None:
        """Close the connections that no request uses."""
        for connections in self._conns.values():
            for connection, _ in connections:
                connection.close()
        self._conns.clear()

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> ResponseHandler:
        """Connect, as aiohttp does, or through the proxy."""
        if self._proxy is None:
            return await super()._create_connection(req, traces, timeout)
        host, port = req.url.raw_host or "", req.url.port or 443
        stage = f"no connection with the proxy {self._proxy}"
        addresses = await self._addresses_of(self._proxy)
        try:
            async with asyncio.timeout(timeout.sock_connect) as limit:
                connected = await self._connected(self._proxy, addresses)
                stage = f"no response from the proxy {self._proxy} for a connection to {host}:{port}"
                await request_tunnel(connected, self._proxy, host, port)
                stage = f"no TLS with the endpoint through the proxy {self._proxy}"
                _, connection = await self._wrap_existing_connection(
                    self._factory,
                    sock=connected,
                    ssl=self._get_ssl_context(req),
                    ssl_shutdown_timeout=_TLS_CLOSE_SECONDS,
                    server_hostname=host.rstrip("."),
                    req=req,
                    timeout=aiohttp.ClientTimeout(),
                )
        except TimeoutError:
            if not limit.expired():
                raise
            raise ProxyFailed(f"{stage} within {timeout.sock_connect:g} s") from None
        return connection

    async def _addresses_of(self, proxy: ProxyAddress) -> list[aiohappyeyeballs.AddrInfoType]:
        try:
            return self._convert_hosts_to_addr_infos(await self._resolve_host(proxy.host, proxy.port))
        except OSError as error:
            raise ProxyUnreachable(proxy, error) from error

    async def _connected(self, proxy: ProxyAddress, addresses: list[aiohappyeyeballs.AddrInfoType]) -> socket.socket:
        try:
            return await aiohappyeyeballs.start_connection(
                addresses,
                happy_eyeballs_delay=self._happy_eyeballs_delay,
                interleave=self._interleave,
                loop=self._loop,
                socket_factory=self._socket_factory,
            )
        except OSError as error:
            raise ProxyUnreachable(proxy, error) from error

    def _new_connection(self) -> ResponseHandler:
        age = MAX_AGE_SECONDS * random.uniform(1 - _AGE_JITTER, 1 + _AGE_JITTER)
        return EndpointConnection(self._loop, age, self._note_unasked)

    def _note_unasked(self, flaw: str) -> None:
        self.unasked = flaw


def connection_of(writer: AbstractStreamWriter) -> EndpointConnection:
    """Return the connection that a request is written to."""
    connection = writer.protocol if isinstance(writer, StreamWriter) else None
    if not isinstance(connection, EndpointConnection):
        raise TypeError("not a connection to an endpoint")
    return connection


def _message(head: ResponseHead) -> RawResponseMessage:
    headers = CIMultiDictProxy(CIMultiDict(head.headers))
    return RawResponseMessage(HttpVersion11, head.status, "", headers, (), True, None, False, False)
