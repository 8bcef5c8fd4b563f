"""How many deliveries of all endpoints are in memory, and how many of them one endpoint may have.

The window of a queue bounds one endpoint. With thousands of them, each may have its share once there are many in all.
Beyond it, an endpoint is handed over nothing more until it has less: what it misses stays in the change log.

Pages are not read faster than reservations are loaded: else each of ten thousand endpoints would have a pipeline at
once, and all of them wait. What waits for an endpoint's response is not counted: it need not come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MOST_DELIVERIES = 30_000
"""Deliveries of all endpoints from which on each may only have its share; some 600 bytes each."""
_LEAST_SHARE = 8
_MOST_LOADING = 1000
"""Deliveries whose reservations are being loaded, from which on the next page can wait."""
_LONGEST_WAIT_SECONDS = 1.0
"""For which it waits, however slow some loads are."""
MANY_ENDPOINTS = 1200
"""Pipelines from which on those with nothing to deliver end sooner."""


class InMemory:
    """Counts the deliveries in memory."""

    def __init__(self, most: int = MOST_DELIVERIES) -> None:
        """Begin with none; must run inside the event loop.

        Args:
            most: Deliveries from which on each endpoint may only have its share.
        """
        self._most = most
        self._fewer = asyncio.Event()
        self.deliveries = 0
        """How many there are."""
        self.endpoints = 0
        """How many endpoints have a pipeline."""
        self._loading = 0
        self._loaded = asyncio.Event()

    @property
    def share(self) -> int | None:
        """How many deliveries one endpoint may have; ``None``: as many as its window has room for."""
        return max(_LEAST_SHARE, self._most // max(1, self.endpoints)) if self.is_full else None

    @property
    def is_full(self) -> bool:
        """Whether there are so many that each endpoint may only have its share."""
        return self.deliveries >= self._most

    def count(self, more: int) -> None:
        """Count deliveries that were handed over, or (negative) recorded."""
        self.deliveries += more
        if more < 0:
            self._fewer.set()

    @contextmanager
    def loading(self, deliveries: int) -> Iterator[None]:
        """Count deliveries whose reservations are being loaded."""
        self._loading += deliveries
        try:
            yield
        finally:
            self._loading -= deliveries
            self._loaded.set()

    async def until_loaded(self) -> None:
        """Wait until few reservations are being loaded, or for a second."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_WAIT_SECONDS):
                while self._loading >= _MOST_LOADING:
                    self._loaded.clear()
                    await self._loaded.wait()

    async def until_fewer(self, within_seconds: float) -> bool:
        """Wait until some were recorded; return whether that was so in time."""
        self._fewer.clear()
        try:
            async with asyncio.timeout(within_seconds):
                await self._fewer.wait()
        except TimeoutError:
            return False
        return True
