"""Accepts the HTTP server's connections, within limits that leave descriptors, memory and processor to deliveries.

Whoever reaches the port can open connections and stay silent, at any step: before the first byte, in the TLS
handshake, in the headers, in a form, between requests, while a response is to be read. So a connection is counted from
the moment it is accepted until its socket is closed, and costs little until it has done something.

============================  ==========================================================================================
limit                         why
============================  ==========================================================================================
accepts a second              a flood costs a small share of the processor; the rest waits in the kernel's queue
waiting connections           no TLS, no HTTP, no task before the first byte and a free place: only a descriptor
served connections            each has buffers of up to 256 kB (TLS), and may read the database
openings, requests a second   TLS handshakes and requests cost most (:mod:`pace`)
seconds for each step         see the constants; a handler has its own time limit (:mod:`guard`)
============================  ==========================================================================================

What a connection is for is known too late, after the TLS handshake and the headers, so none can be kept free for
``/healthz``. Instead all places are shared fairly among clients (a client is an address, or an IPv6 /64). Where none is
left, a new connection takes the place of another: of the client that has most, the one that has done nothing new for
longest. A client that itself has most waits until that one had a moment undisturbed, or else a flood would push out
whoever comes from the same address; and while anybody waits, a connection is closed after its response. Of those that
wait, only silent ones are closed for new ones. So ``/healthz`` responds while a flood lasts, whoever asks and from
where.

A connection whose request had a valid token or session is *trusted*. It does not count among its client's, and yields
only if all the others are trusted too: first those that are idle. A request of it is not cut off before its handler had
time enough, since a program may send more at once than there are places; instead they take turns, a response each.

The sockets themselves say which connections are open; no number has to be counted back.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from cdc_bridge.tasks import end
from cdc_bridge.web.client_address import client_of
from cdc_bridge.web.limited_log import WebLog
from cdc_bridge.web.listen_settings import ListenSettings
from cdc_bridge.web.pace import Pace

IDLE_SECONDS = 30.0
"""Between two requests of a connection."""

_MOST_SERVED = 64
_MOST_DESCRIPTORS = 256
_SHARE_OF_DESCRIPTORS = 4
"""At most one in so many of the descriptors that the process may have."""
_BACKLOG = 256
_ACCEPTED_AT_ONCE = 16
_ACCEPT_PAUSE_SECONDS = 0.02
_NO_DESCRIPTOR_PAUSE_SECONDS = 1.0
_UNDISTURBED_SECONDS = 0.5
"""For which a connection may do what it does before it yields to its client's next one."""
_AT_WORK_SECONDS = 10.0
"""The same while a handler has the request of a trusted one."""
_SILENT_SECONDS = 0.1
"""For which a connection may be silent before it is closed for another."""
_LOOK_AGAIN_SECONDS = 0.02
_OPENINGS_PER_SECOND = 200.0
_REQUESTS_PER_SECOND = 400.0
_FIRST_BYTE_WITHIN_SECONDS = 5.0
_HANDSHAKE_WITHIN_SECONDS = 5.0
_REQUEST_WITHIN_SECONDS = 10.0
_RESPONSE_READ_WITHIN_SECONDS = IDLE_SECONDS + 5
"""Longer than aiohttp waits for the next request, which closes more politely."""
_TLS_CLOSE_WITHIN_SECONDS = 1.0
_SWEEP_SECONDS = 0.5
_RECEIVE_BUFFER_BYTES = 32 * 1024
"""The kernel's, so that a large upload that nobody reads arrives in small pieces."""


@dataclass(slots=True, eq=False)
class Connection:
    """An accepted connection."""

    socket: socket.socket
    client: str
    since: float
    """When it began what it does now: to be silent, the handshake, the headers, a request, to be idle."""
    expires_at: float | None
    """When it is closed; ``None``: what it does has a time limit of its own."""
    ready: bool = False
    """Whether it has sent something and waits for a place."""
    handling: bool = False
    """Whether a handler has its request."""
    trusted: bool = False
    """Whether a request of it had a valid token or session."""
    protocol: asyncio.BaseProtocol | None = None
    transport: asyncio.BaseTransport | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has a descriptor."""
        return self.socket.fileno() >= 0

    def close(self) -> None:
        """Close it without waiting for the client."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        if self.protocol is None:
            self.socket.close()
        elif self.is_open:
            # Ends also what the transport no longer sees: a handshake, or a goodbye that the client does not read.
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)


def most_connections() -> tuple[int, int]:
    """Return how many connections may be served, and how many may wait, with the process's limit on descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    share = max(8, min(_MOST_DESCRIPTORS, soft // _SHARE_OF_DESCRIPTORS if soft > 0 else _MOST_DESCRIPTORS))
    served = min(_MOST_SERVED, share // 2)
    return served, share - served


def to_displace(client: str, served: Collection[Connection], now: float) -> Connection | None:
    """Return the connection whose place one of a client takes now, where all places are taken; ``None``: it waits."""
    strangers = [connection for connection in served if not connection.trusted]
    numbers = Counter(connection.client for connection in strangers)
    largest = max(numbers.values(), default=0)
    yielding = [each for each in strangers if numbers[each.client] == largest] or served
    oldest = min(yielding, key=lambda each: (each.trusted and each.handling, each.since))
    undisturbed_seconds = _AT_WORK_SECONDS if oldest.trusted and oldest.handling else _UNDISTURBED_SECONDS
    if numbers[client] + 1 < largest or now - oldest.since >= undisturbed_seconds:
        return oldest
    return None


def to_reject(waiting: Collection[Connection], now: float) -> Connection | None:
    """Return which of the silent connections is closed where too many wait; ``None``: none yet."""
    silent = [each for each in waiting if not each.ready and now - each.since >= _SILENT_SECONDS]
    numbers = Counter(connection.client for connection in silent)
    return min(silent, key=lambda each: (-numbers[each.client], each.since), default=None)


class ConnectionListener:
    """Accepts connections and has them served."""

    def __init__(self, listen: ListenSettings, serve: Callable[[], asyncio.BaseProtocol], log: WebLog) -> None:
        """Listen, without accepting yet.

        Args:
            listen: Address, port, TLS and proxy.
            serve: Makes the protocol that serves a connection.
            log: Where connections that had to yield are counted.

        Raises:
            OSError: The port cannot be used.
        """
        self._listen = listen
        self._serve = serve
        self._most_served, self._most_waiting = most_connections()
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._openings = Pace(per_second=_OPENINGS_PER_SECOND, burst=_MOST_SERVED)
        self._requests = Pace(per_second=_REQUESTS_PER_SECOND, burst=_MOST_SERVED)
        self._waiting: set[Connection] = set()
        self._served: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._accept_timer: asyncio.TimerHandle | None = None
        self._admit_timer: asyncio.TimerHandle | None = None
        family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
        self._socket = socket.create_server((listen.address, listen.port), family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)

    async def run(self) -> None:
        """Accept, and close what takes too long, until cancelled; then close all."""
        self._accept_again()
        try:
            while True:
                await asyncio.sleep(_SWEEP_SECONDS)
                self._sweep(self._loop.time())
        finally:
            for timer in (self._accept_timer, self._admit_timer):
                if timer is not None:
                    timer.cancel()
            self._loop.remove_reader(self._socket)
            self._socket.close()
            for connection in list(self._waiting):
                self._close_waiting(connection)
            await end(self._opening)

    def close_served(self) -> None:
        """Close what is left once the server has stopped."""
        for connection in self._served:
            connection.close()

    @asynccontextmanager
    async def handling(self, request: web.BaseRequest) -> AsyncIterator[None]:
        """Wait for a request's turn, and note that a handler has it while the block runs."""
        connection = self._connection_of(request)
        if connection is not None:
            connection.handling, connection.expires_at, connection.since = True, None, self._loop.time()
        try:
            if (wait := self._requests.seconds_until_turn(self._loop.time())) > 0:
                await asyncio.sleep(wait)
            yield
        finally:
            if connection is not None:
                now = self._loop.time()
                connection.handling, connection.since = False, now
                connection.expires_at = now + _RESPONSE_READ_WITHIN_SECONDS

    def should_close(self, request: web.BaseRequest) -> bool:
        """Return whether others wait for the place of a request's connection."""
        connection = self._connection_of(request)
        if connection is None:
            return True
        may_stay = connection.trusted and not all(each.trusted for each in self._served if each.is_open)
        return not may_stay and any(each.ready for each in self._waiting)

    def trust(self, request: web.BaseRequest) -> None:
        """Note that a request had a valid token or session."""
        if (connection := self._connection_of(request)) is not None:
            connection.trusted = True

    def _connection_of(self, request: web.BaseRequest) -> Connection | None:
        return next((each for each in self._served if each.protocol is request.protocol), None)

    def _accept_again(self) -> None:
        self._accept_timer = None
        self._loop.add_reader(self._socket, self._accept)

    def _accept_later(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket)
        self._accept_timer = self._loop.call_later(seconds, self._accept_again)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            rejected = None
            if len(self._waiting) >= self._most_waiting:
                rejected = to_reject(self._waiting, self._loop.time())
                if rejected is None:
                    break
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._log.not_accepted.note(self._loop.time(), "", problem=error.strerror)
                self._accept_later(_NO_DESCRIPTOR_PAUSE_SECONDS)
                return
            if rejected is not None:
                self._log.limited.note(self._loop.time(), rejected.client)
                self._close_waiting(rejected)
            self._await_first_byte(accepted, address[0])
        self._accept_later(_ACCEPT_PAUSE_SECONDS)

    def _await_first_byte(self, accepted: socket.socket, address: str) -> None:
        accepted.setblocking(False)
        now = self._loop.time()
        connection = Connection(accepted, client_of(address), now, now + _FIRST_BYTE_WITHIN_SECONDS)
        self._waiting.add(connection)
        self._loop.add_reader(accepted, self._has_become_readable, connection)

    def _close_waiting(self, connection: Connection) -> None:
        self._waiting.discard(connection)
        self._loop.remove_reader(connection.socket)
        connection.close()

    def _has_become_readable(self, connection: Connection) -> None:
        self._loop.remove_reader(connection.socket)
        if not _has_sent(connection.socket):
            self._close_waiting(connection)
            return
        connection.ready, connection.expires_at = True, self._loop.time() + _REQUEST_WITHIN_SECONDS
        if self._admit_timer is None:
            self._admit()

    def _admit(self) -> None:
        """Have those served that have sent something, for as long as there are places and turns."""
        self._admit_timer = None
        while ready := [each for each in self._waiting if each.ready]:
            now = self._loop.time()
            self._served = {each for each in self._served if each.is_open}
            numbers = Counter(each.client for each in self._served if not each.trusted)
            connection = min(ready, key=lambda each: (numbers[each.client], each.since))
            if len(self._served) >= self._most_served:
                displaced = to_displace(connection.client, self._served, now)
                if displaced is None:
                    self._admit_later(_LOOK_AGAIN_SECONDS)
                    return
                self._log.limited.note(now, displaced.client)
                self._served.discard(displaced)
                displaced.close()
            self._waiting.discard(connection)
            self._served.add(connection)
            connection.since, connection.expires_at = now, now + _REQUEST_WITHIN_SECONDS
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
            if (wait := self._openings.seconds_until_turn(now)) > 0:
                self._admit_later(wait)
                return

    def _admit_later(self, seconds: float) -> None:
        self._admit_timer = self._loop.call_later(seconds, self._admit)

    async def _open(self, connection: Connection) -> None:
        try:

            def protocol() -> asyncio.BaseProtocol:
                connection.protocol = self._serve()
                return connection.protocol

            tls = self._listen.tls
            connection.transport, _ = await self._loop.connect_accepted_socket(
                protocol,
                connection.socket,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else _HANDSHAKE_WITHIN_SECONDS,
                ssl_shutdown_timeout=None if tls is None else _TLS_CLOSE_WITHIN_SECONDS,
            )
            connection.since = self._loop.time()
        except OSError:  # The handshake failed, or the client has gone.
            connection.close()

    def _sweep(self, now: float) -> None:
        for connection in list(self._waiting):
            if connection.expires_at is not None and connection.expires_at <= now:
                self._close_waiting(connection)
        self._served = {each for each in self._served if each.is_open}
        for connection in self._served:
            if connection.expires_at is not None and connection.expires_at <= now:
                connection.close()
        self._log.flush(now)


def _has_sent(connected: socket.socket) -> bool:
    """Return whether the client has sent something, and not merely closed the connection."""
    try:
        return bool(connected.recv(1, socket.MSG_PEEK))
    except OSError:
        return False
