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

Several endpoints may share a connection. What arrives behind a response is the flaw of the endpoint that the response
came from.
"""

from __future__ import annotations

import asyncio
import random
import select
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import set_exception as fail
from aiohttp.http import HttpVersion11, RawResponseMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDict, CIMultiDictProxy

from cdc_bridge.transport.address_guard import shown_address
from cdc_bridge.transport.response_head import BYTES_BEHIND, BYTES_UNASKED, ResponseHead, read_head

MAX_AGE_SECONDS = 60.0
_AGE_JITTER = 0.1
_HEAD_LIMIT_BYTES = 64 * 1024


class UnaskedBytes(aiohttp.ClientConnectionError):
    """The endpoint sent something on a new connection before it got a request. The request was not sent."""


class EndpointConnection(ResponseHandler):
    """A connection to an endpoint."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_unasked: Callable[[str | None, str], None], keep_below: int
    ) -> None:
        """Prepare for a connection.

        Args:
            loop: The event loop.
            on_unasked: Called when bytes arrive that belong to no request, with the endpoint of the request before, if
                there was one, and what is wrong.
            keep_below: It is kept for further requests if its descriptor is lower than this.
        """
        super().__init__(loop)
        self._retires_at = loop.time() + MAX_AGE_SECONDS * random.uniform(1 - _AGE_JITTER, 1 + _AGE_JITTER)
        self._on_unasked = on_unasked
        self._keep_below = keep_below
        self._poll = select.poll()
        self._requests = 0
        self._endpoint: str | None = None
        """Name of the endpoint that the last request was for."""
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
        self.address: str | None = None
        """IP address and port at the other end."""
        self.tls: str | None = None
        """Version of TLS; ``None``: none is spoken."""

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

    def begin_request(self, endpoint: str, *, is_last: bool) -> None:
        """Note that the request is about to be written: from now on a response is awaited.

        Args:
            endpoint: Name of the endpoint that it is for.
            is_last: Whether the connection is to be closed after the response.
        """
        self._endpoint = endpoint
        if is_last:
            self.force_close()
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
        descriptor = transport.get_extra_info("socket").fileno()
        self._poll.register(descriptor, select.POLLIN)
        if descriptor >= self._keep_below:
            self.force_close()
        # Now, as it is not known any more once the connection has ended.
        if peer := transport.get_extra_info("peername"):
            self.address = shown_address(peer)
        if (tls := transport.get_extra_info("ssl_object")) is not None:
            self.tls = tls.version()

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
        self._on_unasked(self._endpoint, BYTES_BEHIND if self._requests else BYTES_UNASKED)
        self.force_close()
        if self.transport is not None:
            self.transport.close()
        super().set_exception(aiohttp.ServerDisconnectedError() if self._requests else UnaskedBytes())


def connection_of(writer: AbstractStreamWriter) -> EndpointConnection:
    """Return the connection that a request is written to."""
    connection = writer.protocol if isinstance(writer, StreamWriter) else None
    if not isinstance(connection, EndpointConnection):
        raise TypeError("not a connection to an endpoint")
    return connection


def _message(head: ResponseHead) -> RawResponseMessage:
    headers = CIMultiDictProxy(CIMultiDict(head.headers))
    return RawResponseMessage(HttpVersion11, head.status, "", headers, (), True, None, False, False)
