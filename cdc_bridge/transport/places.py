"""The requests that this process may have in flight, over all endpoints.

Each endpoint may have ``max_in_flight`` requests in flight, and the process may have more endpoints than descriptors
for them. So all requests share :class:`Places`:

* As many as half of the descriptors that are left for requests; the rest is for idle connections, of which those are
  kept that have one of the lower half of descriptors (:mod:`~cdc_bridge.transport.pools`). Sessions with PostgreSQL,
  the web port and files have descriptors of their own.
* Half of the places are for anybody, the other half for endpoints that have no request in flight: those that are slow
  to respond keep the others from none.
* When something runs out all the same, as the machine lends it to others, the number of places halves; each request
  lets it grow again, by one for as many requests as there are places (AIMD, as in the breaker). The delivery is loaded
  and sent again, and nobody is charged.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import structlog

from cdc_bridge.backoff import Backoff
from cdc_bridge.metrics import REQUESTS_PUT_OFF
from cdc_bridge.transport.message import Message
from cdc_bridge.transport.outcome import Attempt, Failed, Fault

_OTHER_DESCRIPTORS = 40
"""For PostgreSQL, files, look-ups of names, and what Python keeps open."""
_FEWEST_PLACES = 2
_WAITS_SECONDS = 10.0
"""For a place. After that the reservation is loaded again, as it may have changed."""
_HALVED_AT_MOST_EVERY_SECONDS = 1.0
"""Many requests run out of the same at once."""
_SHOWN_SECONDS = 60.0
_PAUSES = Backoff(first_seconds=0.1, longest_seconds=5.0, jitter=0.5)

_log = structlog.get_logger(__name__)


class Places:
    """The places of all requests."""

    def __init__(self, descriptors: int, *, reserved: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no request in flight.

        Args:
            descriptors: How many descriptors the process may have.
            reserved: Those of them that others need, such as the web port.
            clock: Time in seconds.
        """
        self._most = max(_FEWEST_PLACES, (descriptors - reserved - _OTHER_DESCRIPTORS) // 2)
        self._clock = clock
        self._taken = 0
        self._taken_by: Counter[object] = Counter()
        self._waiting: dict[asyncio.Future[None], object] = {}
        """Places that are waited for, each with its endpoint. One that is given back is done, and taken already."""
        self._reason = ""
        self._ran_out_at = self._halved_at = self._logged_at = float("-inf")
        self._not_logged = 0
        self._limit = float(self._most)

    @property
    def limit(self) -> int:
        """How many requests may be in flight at present."""
        return int(self._limit)

    @property
    def problem(self) -> str | None:
        """What this process ran out of within the last minute."""
        if self._clock() - self._ran_out_at > _SHOWN_SECONDS:
            return None
        return f"{self._reason}; {self.limit} requests at once at most for now"

    async def take(self, endpoint: object) -> bool:
        """Wait for a place and take it; return whether there was one in time.

        Args:
            endpoint: Whoever asks.
        """
        if self._has_place_for(endpoint):
            self._take(endpoint)
            return True
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = endpoint
        try:
            await asyncio.wait([place], timeout=_WAITS_SECONDS)
        except asyncio.CancelledError:
            if place.done():
                self.give_back(endpoint)
            raise
        finally:
            self._waiting.pop(place, None)
        return place.done()

    def give_back(self, endpoint: object, ran_out: str | None = None) -> None:
        """Give a place back, which goes to whoever waits for one.

        Args:
            endpoint: Whoever took it.
            ran_out: Why its request could not be sent, if something ran out.
        """
        if ran_out is None:
            self._limit = min(self._most, self._limit + 1 / self._limit)
        else:
            self._note_ran_out(ran_out)
        self._taken -= 1
        self._taken_by[endpoint] -= 1
        if not self._taken_by[endpoint]:
            del self._taken_by[endpoint]
        while self._taken < self.limit and (place := self._next_waiting()) is not None:
            self._take(self._waiting.pop(place))
            place.set_result(None)

    def _note_ran_out(self, reason: str) -> None:
        REQUESTS_PUT_OFF.inc()
        now = self._clock()
        if now - self._halved_at >= _HALVED_AT_MOST_EVERY_SECONDS:
            self._halved_at = now
            self._limit = max(1.0, min(self._limit, self._taken) / 2)
        self._ran_out_at, self._reason = now, reason
        self._not_logged += 1
        if now - self._logged_at >= _SHOWN_SECONDS:
            _log.error("out of resources", problem=self.problem, requests=self._not_logged)
            self._logged_at, self._not_logged = now, 0

    def _has_place_for(self, endpoint: object) -> bool:
        return self._taken < self.limit // 2 or (self._taken < self.limit and endpoint not in self._taken_by)

    def _next_waiting(self) -> asyncio.Future[None] | None:
        return next((place for place, endpoint in self._waiting.items() if self._has_place_for(endpoint)), None)

    def _take(self, endpoint: object) -> None:
        self._taken += 1
        self._taken_by[endpoint] += 1


class Transport(Protocol):
    """Sends requests to one endpoint, whatever this process has left."""

    async def send(self, message: Message) -> Attempt | None:
        """Send a message and return the attempt; ``None``: the lease ended before the body was written."""


class LimitedTransport:
    """Sends requests to one endpoint, each in a place."""

    def __init__(self, transport: Transport, places: Places) -> None:
        """Prepare to send.

        Args:
            transport: Sends the requests.
            places: Those of all endpoints.
        """
        self._transport = transport
        self._places = places
        self._failures = 0

    async def send(self, message: Message) -> Attempt | None:
        """Send a message and return the attempt; ``None``: it was not sent, for want of a lease or of a resource."""
        if not await self._places.take(self):
            return None
        ran_out = None
        try:
            attempt = await self._transport.send(message)
            ran_out = _ran_out(attempt)
        finally:
            self._places.give_back(self, ran_out)
        if ran_out is None:
            self._failures = 0
            return attempt
        self._failures += 1
        await asyncio.sleep(_PAUSES.pause_seconds(self._failures, random.random()))
        return None


def _ran_out(attempt: Attempt | None) -> str | None:
    """Return why a request could not be sent, if something ran out."""
    outcome = None if attempt is None else attempt.outcome
    return outcome.reason if isinstance(outcome, Failed) and outcome.fault is Fault.OURS else None
