"""Releases leases within a few seconds, or leaves them to expire."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.errors import InstallationError
from cdc_bridge.model import EndpointId

_WITHIN_SECONDS = 5.0


class ReleaseStore(Protocol):
    """Where leases are released."""

    async def release(self, lease: Lease, state: EndpointState, problem: str | None, *, disable: bool) -> None:
        """Release a lease and report the endpoint's last state."""


class Releases:
    """Releases leases and knows which releases are under way."""

    def __init__(self, store: ReleaseStore, within_seconds: float = _WITHIN_SECONDS) -> None:
        """Prepare to release.

        Args:
            store: Where leases are released.
            within_seconds: Time after which a release is given up.
        """
        self._store = store
        self._within_seconds = within_seconds
        self._under_way: set[EndpointId] = set()

    @property
    def under_way(self) -> Collection[EndpointId]:
        """Endpoints whose release has begun and not ended."""
        return self._under_way

    async def release(
        self, lease: Lease, state: EndpointState, problem: str | None = None, *, disable: bool = False
    ) -> None:
        """Release a lease.

        Args:
            lease: The lease.
            state: The endpoint's last state.
            problem: Why nobody delivers to the endpoint now, if so.
            disable: Whether the endpoint asked for no more deliveries (410).
        """
        self._under_way.add(lease.endpoint_id)
        try:
            # If the release fails, other daemons wait until our session or the lease has ended.
            with suppress(TimeoutError, InstallationError):
                async with asyncio.timeout(self._within_seconds):
                    await self._store.release(lease, state, problem, disable=disable)
        finally:
            self._under_way.discard(lease.endpoint_id)
