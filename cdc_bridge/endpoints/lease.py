"""The right to deliver to an endpoint, which one daemon at a time has.

Leases belong to daemons: a daemon is registered by a row of ``cdc_bridge.daemon``, which it renews while it lives, and
holds the leases of all endpoints whose rows name it. Each lease has a number, the *fencing token*, that grows each time
the endpoint is leased. Another daemon ends the registration when the time has passed that the row says, or at once
when the heartbeat session of the first one has ended (``kill -9``); then the endpoints are free. A daemon that was
frozen or cut off may not know that it lost its leases. Three things keep it from doing harm:

* By its own clock it sends no request once the time has passed. That clock runs while the process is stopped and while
  the machine sleeps, and the time counts from before the renewal was asked for, so it ends before the database's does.
* It loads a reservation together with its registration, and sends a request only if that still exists.
* It records under its registration and the endpoint's fencing token, and nothing is recorded if one of them is old.

So at worst a late daemon finishes a request that it had begun.

Reference: M. Kleppmann, "How to do distributed locking" (2016), "Making the lock safe with fencing".
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from cdc_bridge.model import EndpointId, History
from cdc_bridge.sessions import ServerIncarnation

_MARGIN_PART = 0.1
"""Part of the lease by which its daemon stops before others may acquire the endpoint: clocks drift."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Registration:
    """This daemon's registration, on which all of its leases depend."""

    def __init__(self, daemon_id: int, server: ServerIncarnation, history: History, table: int = 0) -> None:
        """Start with a registration that is not valid yet: see :meth:`renew`.

        Args:
            daemon_id: Its number, never used again on this server.
            server: Where it was made. Another server may give the same number to another daemon.
            history: Of the server: what stands in front of the numbers of deliveries.
            table: OID of ``cdc_bridge.daemon``: a restored dump may have the same number.
        """
        self.daemon_id = daemon_id
        self.server = server
        self.history = history
        self.table = table
        self._valid_until = 0.0
        self._renewed = asyncio.Event()

    @staticmethod
    def now() -> float:
        """Return the time in seconds on the clock that measures leases."""
        return time.clock_gettime(_CLOCK)

    def renew(self, asked_at: float, lease_seconds: float) -> None:
        """Extend the leases.

        Args:
            asked_at: :meth:`now` before the database was asked.
            lease_seconds: The time that was asked for.
        """
        self._valid_until = asked_at + lease_seconds * (1 - _MARGIN_PART)
        self._renewed.set()

    @property
    def valid(self) -> bool:
        """Whether requests may be sent now."""
        return self.now() < self._valid_until

    async def until_valid(self) -> None:
        """Wait until requests may be sent. If the leases were lost, this waits until it is cancelled."""
        while not self.valid:
            self._renewed.clear()
            await self._renewed.wait()


@dataclass(frozen=True, slots=True)
class Lease:
    """One endpoint's lease, as the daemon that has it sees it."""

    endpoint_id: EndpointId
    fencing_token: int
    registration: Registration

    @property
    def server(self) -> ServerIncarnation:
        """Where it was acquired."""
        return self.registration.server

    @property
    def valid(self) -> bool:
        """Whether a request may be sent now."""
        return self.registration.valid

    async def until_valid(self) -> None:
        """Wait until a request may be sent. If the lease was lost, this waits until it is cancelled."""
        await self.registration.until_valid()
