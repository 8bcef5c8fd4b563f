"""Resolves the host names of one connection pool: that of its endpoints, or of their proxy.

``getaddrinfo`` honours ``/etc/hosts``, ``nsswitch.conf`` and search domains, and it blocks its thread: for minutes, if
the name server stays silent. asyncio's own executor has few threads, and sessions with PostgreSQL need it too. So each
look-up has a thread of its own, and a pool has one look-up of a name in flight at most. Nothing waits for these
threads when the process ends.

aiohttp caches what was found (:data:`CACHE_SECONDS`), so a new connection seldom needs a look-up.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from aiohttp.abc import AbstractResolver, ResolveResult

CACHE_SECONDS = 30
"""For which an address is used without another look-up."""

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

T = TypeVar("T")

_Found = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]


class EndpointResolver(AbstractResolver):
    """Resolves names for the connections of one pool."""

    def __init__(self, timeout_seconds: float) -> None:
        """Prepare to resolve.

        Args:
            timeout_seconds: How long an attempt waits for a look-up, which itself may take longer.
        """
        self._timeout_seconds = timeout_seconds
        self._lookups: dict[tuple[str, int, int], asyncio.Future[_Found]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            OSError: It has none, or the look-up takes too long.
        """
        key = (host, port, family)
        if key not in self._lookups:
            look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            self._lookups[key] = _in_thread_of_its_own(look_up)
            self._lookups[key].add_done_callback(lambda _: self._lookups.pop(key))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found = await asyncio.shield(self._lookups[key])
        except TimeoutError:
            silence = f"no response from the name server within {self._timeout_seconds:g} s"
            raise socket.gaierror(socket.EAI_AGAIN, silence) from None
        return [
            ResolveResult(hostname=host, host=address[0], port=address[1], family=kind, proto=protocol, flags=_NUMERIC)
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Wait for nothing: a look-up in flight ends by itself."""


def _in_thread_of_its_own(work: Callable[[], T]) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            settle = partial(future.set_result, work())
        except Exception as error:  # noqa: BLE001 - whoever awaits the result gets it
            settle = partial(_fail, future, error)
        with suppress(RuntimeError):  # The event loop has ended meanwhile.
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name="resolver", daemon=True).start()
    return future


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # Whoever asked may have given up, and nobody is left to retrieve it.
