"""The right to call an endpoint: at most one daemon has it.

A lease is a time in the endpoint's row until which its holder may call, and a number, the *fencing_token*, that grows each time
the endpoint is taken. The holder puts the time off while it lives. Another daemon takes the endpoint when the time is
past, or at once when the holder's database session has ended (``kill -9``). A holder that was frozen or cut off may
not know that it lost the endpoint. It is kept from harm thrice:

* By its own clock it makes no call once the time is past. The clock goes on while the process is stopped and the
  machine sleeps; its time is counted from before the renewal was asked for, so it ends before the database's does.
* It loads a reservation together with the fencing_token, and calls only if that is still its own.
* It records with its fencing_token, and nothing is recorded if that is not the newest.

So what a late one can do at most is to finish a call that it had begun.

Reference: M. Kleppmann, "How to do distributed locking" (2016), "Making the lock safe with fencing".
"""

from __future__ import annotations

import asyncio
import time

from cdc_bridge.model import EndpointId

_MARGIN_PART = 0.1
"""The holder gives up calling by this part of the lease earlier than the others may take over: clocks drift."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Lease:
    """One endpoint's lease, as its holder sees it."""

    def __init__(self, endpoint_id: EndpointId, fencing_token: int) -> None:
        """Begin with a lease that is not valid yet: see :meth:`renew`."""
        self.endpoint_id = endpoint_id
        self.fencing_token = fencing_token
        self._valid_until = 0.0
        self._renewed = asyncio.Event()

    @staticmethod
    def now() -> float:
        """Return the time on the clock that leases are measured by, in seconds."""
        return time.clock_gettime(_CLOCK)

    def renew(self, asked_at: float, lease_seconds: float) -> None:
        """Note that the lease was given for so long.

        Args:
            asked_at: :meth:`now` before the database was asked.
            lease_seconds: what it was asked for.
        """
        self._valid_until = asked_at + lease_seconds * (1 - _MARGIN_PART)
        self._renewed.set()

    @property
    def valid(self) -> bool:
        """Whether a call may be made now."""
        return self.now() < self._valid_until

    async def until_valid(self) -> None:
        """Wait until a call may be made; for good if the endpoint was lost, until somebody cancels this."""
        while not self.valid:
            self._renewed.clear()
            await self._renewed.wait()
