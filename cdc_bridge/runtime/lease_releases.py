"""Releases leases, many in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Protocol

from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.endpoints.lease_store import Release
from cdc_bridge.errors import InstallationError
from cdc_bridge.model import EndpointId

RELEASE_WITHIN_SECONDS = 5.0
"""A release that takes longer is given up, and the lease left to expire."""
_AGAIN_AFTER_SECONDS = 1.0


class ReleaseStore(Protocol):
    """Where leases are released."""

    async def release(self, registration: Registration, releases: Sequence[Release]) -> Collection[EndpointId]:
        """Release leases and report the endpoints' last states; return those that are still ours."""


class LeaseReleases:
    """The leases that are to be released, until they are."""

    def __init__(
        self,
        store: ReleaseStore,
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
        is_current: Callable[[Registration], bool],
    ) -> None:
        """Begin with none.

        Args:
            store: Where leases are released.
            spawn: Starts the task that releases them.
            is_current: Says whether a registration is still this daemon's.
        """
        self._store = store
        self._spawn = spawn
        self._is_current = is_current
        self._waiting: dict[Lease, tuple[Release, Callable[[], None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self.tries_once = False
        """Whether what cannot be released is left to the end of the registration, as the daemon stops.

        The endpoint has the daemon's position until then.
        """

    @property
    def endpoint_ids(self) -> Collection[EndpointId]:
        """The endpoints whose leases are to be released."""
        return {lease.endpoint_id for lease in self._waiting}

    def add(self, release: Release, released: Callable[[], None]) -> None:
        """Release a lease.

        Args:
            release: The lease, and the endpoint's last state.
            released: Called once it is released.
        """
        self._waiting[release.lease] = release, released
        if self._task is None or self._task.done():
            self._task = self._spawn(self._release_all())

    async def _release_all(self) -> None:
        while self._waiting:
            registration = next(iter(self._waiting)).registration
            waiting = [lease for lease in self._waiting if lease.registration is registration]
            released = set(await self._release_together(registration, waiting))
            ended = waiting if self.tries_once or not self._is_current(registration) else released
            for lease in ended:
                _, note = self._waiting.pop(lease)
                if lease in released:
                    note()
            if len(ended) < len(waiting):
                await asyncio.sleep(_AGAIN_AFTER_SECONDS)

    async def _release_together(self, registration: Registration, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Release leases, in halves if that is rejected; return those that are released."""
        try:
            async with asyncio.timeout(RELEASE_WITHIN_SECONDS):
                left = await self._store.release(registration, [self._waiting[lease][0] for lease in leases])
        except TimeoutError:
            return ()
        except InstallationError:
            half = len(leases) // 2
            if not half:
                return ()
            first = await self._release_together(registration, leases[:half])
            return [*first, *await self._release_together(registration, leases[half:])]
        return [lease for lease in leases if lease.endpoint_id not in left]
