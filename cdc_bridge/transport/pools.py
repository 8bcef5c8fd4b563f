"""Connection pools, shared by the endpoints whose requests go to the same place in the same way.

Endpoints that are paths of one receiver need as many connections as they have requests in flight, and an idle endpoint
needs none. So connections belong to a :class:`ConnectionPool`, not to an endpoint: one for each :class:`PoolKey`. It is
opened with the first request, and closed once there was none for as long as an idle connection is kept.

What one endpoint does to a shared connection must not harm the others:

* How many requests an endpoint has in flight is limited before they get here (:mod:`~cdc_bridge.pipeline.breaker`,
  :mod:`~cdc_bridge.transport.places`). A pool has no limit, so none waits until a slow one gives a connection back.
* A connection that was given up is replaced by a new one. Those of the others stay: each request finds out by itself.
* An endpoint after whose response more bytes arrived keeps no connection for a while: such bytes would be taken for the
  response to another endpoint's request, if they arrived when that was written.

Idle connections must not use up the descriptors. The system gives out the lowest one that is free: a connection that
got a high one was made while many were in use, and is closed after its request.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import aiohttp
from yarl import URL

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.proxy_address import ProxyAddress
from cdc_bridge.transport.address_guard import guarded_socket_factory
from cdc_bridge.transport.connector import EndpointConnector
from cdc_bridge.transport.resolver import CACHE_SECONDS, EndpointResolver
from cdc_bridge.transport.tls import TlsContexts

KEEPALIVE_SECONDS = 60.0
"""For which an idle connection is kept, and a pool without requests."""


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What requests have in common that may use the same connections."""

    origin: str
    """Scheme, host and port. The scheme also decides which addresses may be connected to."""
    tls: ssl.SSLContext
    proxy: ProxyAddress | None
    """Credentials included."""
    connect_timeout_seconds: float


class ConnectionPool:
    """Connections to one place; must be made inside the event loop. A context manager: used for one request."""

    def __init__(self, key: PoolKey, keep_below: int, traces: Sequence[aiohttp.TraceConfig]) -> None:
        self._now = asyncio.get_running_loop().time
        self.requests = 0
        """How many are in flight."""
        self.used_at = 0.0
        """When the last one ended, by the event loop's clock."""
        self.timer: asyncio.TimerHandle | None = None
        """Looks whether it is idle."""
        self.connector = EndpointConnector(
            key.proxy,
            keep_below,
            limit=0,
            keepalive_timeout=KEEPALIVE_SECONDS,
            resolver=EndpointResolver(key.connect_timeout_seconds),
            ttl_dns_cache=CACHE_SECONDS,
            ssl=key.tls,
            socket_factory=guarded_socket_factory(only_loopback=key.origin.startswith("http://")),
        )
        self.session = aiohttp.ClientSession(
            connector=self.connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept-encoding",),
            auto_decompress=False,
            trace_configs=list(traces),
        )

    def __enter__(self) -> Self:
        """Begin a request."""
        self.requests += 1
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.requests -= 1
        self.used_at = self._now()

    def close_idle(self) -> None:
        """Close a pool without requests; its connections close TLS by themselves."""
        self.connector.close_idle()
        self.session.detach()


class ConnectionPools:
    """The open connection pools of a process."""

    def __init__(self, keep_below: int = sys.maxsize, traces: Sequence[aiohttp.TraceConfig] = ()) -> None:
        """Begin without connections.

        Args:
            keep_below: A connection is kept for further requests if its descriptor is lower than this.
            traces: What looks at each request; it costs time.
        """
        self._keep_below = keep_below
        self._traces = traces
        self._contexts = TlsContexts()
        self._open: dict[PoolKey, ConnectionPool] = {}

    def key_of(self, endpoint: Endpoint, proxy: ProxyAddress | None) -> PoolKey:
        """Return the key of an endpoint's pool.

        Args:
            endpoint: The endpoint.
            proxy: The proxy that requests to it go through; ``None``: none.

        Raises:
            OSError: A certificate file cannot be read, or holds none.
        """
        origin = str(URL(endpoint.url).origin())
        return PoolKey(origin, self._contexts.context_of(endpoint), proxy, endpoint.connect_timeout_seconds)

    def pool(self, key: PoolKey) -> ConnectionPool:
        """Return a pool; must run inside the event loop."""
        pool = self._open.get(key)
        if pool is None:
            pool = self._open[key] = ConnectionPool(key, self._keep_below, self._traces)
            self._look_later(key, pool, KEEPALIVE_SECONDS)
        return pool

    async def close(self) -> None:
        """Close all connections, over TLS in order."""
        pools = list(self._open.values())
        self._open.clear()
        for pool in pools:
            if pool.timer is not None:
                pool.timer.cancel()
        await asyncio.gather(*(pool.session.close() for pool in pools))

    def _look_later(self, key: PoolKey, pool: ConnectionPool, seconds: float) -> None:
        pool.timer = asyncio.get_running_loop().call_later(seconds, self._close_if_idle, key, pool)

    def _close_if_idle(self, key: PoolKey, pool: ConnectionPool) -> None:
        idle_seconds = 0.0 if pool.requests else asyncio.get_running_loop().time() - pool.used_at
        if idle_seconds < KEEPALIVE_SECONDS:
            self._look_later(key, pool, KEEPALIVE_SECONDS - idle_seconds)
        else:
            del self._open[key]
            pool.close_idle()
