"""The right to deliver to an endpoint, which one daemon at a time has.

A lease is a time in the endpoint's row until which its daemon may send requests, and a number, the *fencing token*,
that grows each time the endpoint is leased. The daemon renews the lease while it lives. Another daemon acquires the
endpoint when the time has passed, or at once when the heartbeat session of the first one has ended (``kill -9``). A
daemon that was frozen or cut off may not know that it lost its lease. Three things keep it from doing harm:

* By its own clock it sends no request once the time has passed. That clock runs while the process is stopped and while
  the machine sleeps, and the time counts from before the renewal was asked for, so it ends before the database's does.
* It loads a reservation together with the fencing token, and sends a request only if the token is still its own.
* It records with its fencing token, and nothing is recorded if a newer one exists.

So at worst a late daemon finishes a request that it had begun.

Reference: M. Kleppmann, "How to do distributed locking" (2016), "Making the lock safe with fencing".
"""

from __future__ import annotations

import asyncio
import time

from cdc_bridge.model import EndpointId
from cdc_bridge.sessions import ServerIncarnation

_MARGIN_PART = 0.1
"""Part of the lease by which its daemon stops before others may acquire the endpoint: clocks drift."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Lease:
    """One endpoint's lease, as the daemon that has it sees it."""

    def __init__(self, endpoint_id: EndpointId, fencing_token: int, server: ServerIncarnation) -> None:
        """Start with a lease that is not valid yet: see :meth:`renew`.

        Args:
            endpoint_id: The endpoint.
            fencing_token: The number.
            server: Where it was acquired. Another server may give the same number to another daemon.
        """
        self.endpoint_id = endpoint_id
        self.fencing_token = fencing_token
        self.server = server
        self._valid_until = 0.0
        self._renewed = asyncio.Event()

    @staticmethod
    def now() -> float:
        """Return the time in seconds on the clock that measures leases."""
        return time.clock_gettime(_CLOCK)

    def renew(self, asked_at: float, lease_seconds: float) -> None:
        """Extend the lease.

        Args:
            asked_at: :meth:`now` before the database was asked.
            lease_seconds: The time that was asked for.
        """
        self._valid_until = asked_at + lease_seconds * (1 - _MARGIN_PART)
        self._renewed.set()

    @property
    def valid(self) -> bool:
        """Whether a request may be sent now."""
        return self.now() < self._valid_until

    async def until_valid(self) -> None:
        """Wait until a request may be sent. If the lease was lost, this waits until it is cancelled."""
        while not self.valid:
            self._renewed.clear()
            await self._renewed.wait()
