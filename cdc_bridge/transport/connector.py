"""Connects to endpoints, directly or through a proxy, and keeps the connections for further requests.

Many endpoints may begin to send at the same moment, over the same connections. If each request without an idle one
connected at once, there would be as many TLS handshakes, which take each other's time until some fail, although a few
connections could serve all. So only some connections are established at a time (:data:`_FEWEST_CONNECTING`), more of
them where many are in use; other requests wait for one of these or for an idle one, whichever comes first.

Through a proxy, a connection of HTTP is made once the tunnel is there (:mod:`~cdc_bridge.transport.tunnel`), and gets
nothing of what the proxy sent.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohappyeyeballs
import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from cdc_bridge.endpoints.proxy_address import ProxyAddress
from cdc_bridge.transport.address_guard import shown_address
from cdc_bridge.transport.connection import EndpointConnection
from cdc_bridge.transport.tunnel import ProxyFailed, ProxyUnreachable, request_tunnel

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.tracing import Trace

_FEWEST_CONNECTING = 16
_IN_USE_FOR_ONE_CONNECTING = 4
"""So the number grows where responses are slow, or the way is long."""
_TLS_CLOSE_SECONDS = 1.0
"""How long to wait for the endpoint's part in closing TLS."""
_DISTRUSTED_SECONDS = 60.0

_only_new: ContextVar[bool] = ContextVar("only_new", default=False)
_tried: ContextVar[list[str] | None] = ContextVar("tried", default=None)


class EndpointConnector(aiohttp.TCPConnector):
    """Connects to endpoints and keeps the connections."""

    def __init__(self, proxy: ProxyAddress | None = None, keep_below: int = sys.maxsize, **options: Any) -> None:
        """Prepare to connect.

        Args:
            proxy: The proxy to connect through, for TLS only; ``None``: none.
            keep_below: A connection is kept for further requests if its descriptor is lower than this.
            options: Those of aiohttp's connector.
        """
        super().__init__(**options)
        self._proxy = proxy
        self._keep_below = keep_below
        self._factory = partial(self._new_connection)
        self._make_socket = self._socket_factory
        self._socket_factory = self._note_address
        # Its parameter is deprecated, and without it TLS is not closed in order when the connector is closed.
        self._ssl_shutdown_timeout = _TLS_CLOSE_SECONDS
        self._connecting = 0
        """How many connections are being established."""
        self._unasked: dict[str | None, str] = {}
        self._distrusted_until: dict[str, float] = {}

    def unasked(self, endpoint: str) -> str | None:
        """Return, once, what was wrong when bytes arrived that belong to no request; ``None``: none did.

        Args:
            endpoint: Name of the endpoint that the request before was for. Bytes before any request count as those of
                the endpoint that asks first.
        """
        return self._unasked.pop(endpoint, None) or self._unasked.pop(None, None)

    def trusts(self, endpoint: str) -> bool:
        """Return whether other endpoints may use a connection after a request for this one."""
        return self._loop.time() >= self._distrusted_until.get(endpoint, 0.0)

    def close_idle(self) -> None:
        """Close the connections that no request uses."""
        for connections in self._conns.values():
            for connection, _ in connections:
                connection.close()
        self._conns.clear()

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        return None if _only_new.get() else await super()._get(key, traces)

    def _available_connections(self, key: ConnectionKey) -> int:  # noqa: ARG002 - aiohttp's
        """Return whether a request may go on to connect, or has to wait for a connection."""
        in_use = len(self._acquired) - self._connecting
        most = max(_FEWEST_CONNECTING, in_use // _IN_USE_FOR_ONE_CONNECTING)
        return int(_only_new.get() or bool(self._conns) or self._connecting < most)

    async def _wait_for_available_connection(self, key: ConnectionKey, traces: list[Trace]) -> None:
        try:
            await super()._wait_for_available_connection(key, traces)
        except asyncio.CancelledError:
            self._release_waiter()  # It may have been this one's turn.
            raise

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        self._release_waiter()  # aiohttp does so too early, before the connection is idle.

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> ResponseHandler:
        """Connect, as aiohttp does, or through the proxy."""
        self._connecting += 1
        try:
            if self._proxy is None:
                return await super()._create_connection(req, traces, timeout)
            return await self._connect_through(self._proxy, req, timeout)
        finally:
            self._connecting -= 1
            self._release_waiter()
            self._release_waiter()  # A connection more may allow two to be established.

    async def _connect_through(
        self,
        proxy: ProxyAddress,
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> ResponseHandler:
        host, port = req.url.raw_host or "", req.url.port or 443
        stage = f"no connection with the proxy {proxy}"
        addresses = await self._addresses_of(proxy)
        try:
            async with asyncio.timeout(timeout.sock_connect) as limit:
                connected = await self._connected(proxy, addresses)
                stage = f"no response from the proxy {proxy} for a connection to {host}:{port}"
                await request_tunnel(connected, proxy, host, port)
                stage = f"no TLS with the endpoint through the proxy {proxy}"
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

    def _note_address(self, info: aiohappyeyeballs.AddrInfoType) -> socket.socket:
        if (tried := _tried.get()) is not None and (address := shown_address(info[4])) not in tried:
            tried.append(address)
        return socket.socket(*info[:3]) if self._make_socket is None else self._make_socket(info)

    def _new_connection(self) -> ResponseHandler:
        return EndpointConnection(self._loop, self._note_unasked, self._keep_below)

    def _note_unasked(self, endpoint: str | None, flaw: str) -> None:
        self._unasked[endpoint] = flaw
        if endpoint is not None:
            self._distrusted_until[endpoint] = self._loop.time() + _DISTRUSTED_SECONDS


def note_addresses() -> list[str]:
    """Return a list that gets the addresses that requests of this task try to connect to, from now on."""
    tried: list[str] = []
    _tried.set(tried)
    return tried


@contextmanager
def only_new_connections() -> Iterator[None]:
    """Have the requests of a block made on new connections."""
    token = _only_new.set(True)
    try:
        yield
    finally:
        _only_new.reset(token)
