"""Whether an endpoint may be called: tells a failing endpoint from a failing reservation.

A refusal such as a time-out or a 503 may be either's fault (:class:`~cdc_bridge.transport.outcome.Fault`), so it is
charged to nobody yet: the reservation is *held*, its delivery unsettled and its schedule untouched.

* While few reservations are held, the others go ahead, and the held ones are tried one at a time after pauses that
  grow.
* Are several held with nothing accepted in between, or does the endpoint itself ask for a pause (429,
  ``Retry-After``), the breaker *opens*: nothing is called any more but one probe at a time, after pauses that grow.
* Whatever shows that the endpoint works closes it again. What was held is free, uncharged, and calls begin one at a
  time: each that goes well admits one more, each that fails halves their number.
* A reservation that was freed because another was accepted, is refused again, and sees another accepted again, is
  charged: refused in the midst of successes, it is at fault itself. From then on it is on its delivery's schedule and
  holds up itself alone.

An answer such as 422 speaks of its delivery alone; it shows that the endpoint works, and accuses nobody else.

Reference for growing and halving: AIMD as in TCP's congestion control (RFC 5681).
"""

from __future__ import annotations

from dataclasses import dataclass

from cdc_bridge.model import ReservationId
from cdc_bridge.transport.outcome import Failed, Fault

OPENS_AT = 3
"""So many reservations held, with nothing accepted in between, open the breaker."""

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
JITTER = 0.1
"""A pause is up to this part shorter, so that endpoints that failed together are not tried together."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of reservations after a call."""

    held: bool = False
    """The one that was called is held: nothing is known yet, or the endpoint is at fault. Else it is to be settled."""
    freed: tuple[ReservationId, ...] = ()
    """These were held, and may be called again."""
    charged: tuple[ReservationId, ...] = ()
    """These were held, and their last refusal is to be settled: their schedule goes on."""


class Breaker:
    """One endpoint's breaker. It keeps no time of its own: ``now`` is in seconds on any clock that never goes back."""

    def __init__(self, max_in_flight: int) -> None:
        """Begin closed.

        Args:
            max_in_flight: most calls under way at once, when all goes well.
        """
        self._max_in_flight = max_in_flight
        self._limit = max_in_flight
        self._held: dict[ReservationId, Fault] = {}  # in the order in which they are probed
        self._freed_before: set[ReservationId] = set()
        self._probe: ReservationId | None = None
        self._probes_failed = 0
        self._probe_at = 0.0
        self.is_open = False
        self.reason: str | None = None
        """Of the last refusal that was put down to nobody; ``None`` once the endpoint works again."""

    @property
    def backs_off(self) -> bool:
        """Whether the endpoint counts as failing: it is open, or a probe failed and nothing was accepted since."""
        return self.is_open or self._probes_failed > 1

    @property
    def limit(self) -> int:
        """Most calls under way at once at present."""
        return self._limit

    @property
    def probe_at(self) -> float | None:
        """When a held reservation is tried again; ``None``: none is held, or one is being tried."""
        return self._probe_at if self._held and self._probe is None else None

    def allows(self, under_way: int) -> int:
        """Return how many calls may be begun beside those under way, probes not counted."""
        return 0 if self.is_open else max(0, self._limit - under_way)

    def begin_probe(self, now: float, fresh: ReservationId | None) -> ReservationId | None:
        """Return the reservation to be tried now, if it is time for a probe; its outcome has to be told.

        Args:
            now: the time.
            fresh: a reservation that is not held and could be tried. An open breaker tries it first: those that are
                held may be refused for their own sake, and must not keep the endpoint shut to all.
        """
        if self.probe_at is None or now < self._probe_at:
            return None
        self._probe = fresh if self.is_open and fresh is not None else next(iter(self._held))
        return self._probe

    def accepted(self, reservation_id: ReservationId) -> Ruling:
        """Note that a call was answered with 2xx."""
        self.forget(reservation_id)
        return self._works(accuse=True)

    def refused(self, reservation_id: ReservationId, refusal: Failed, now: float, random: float) -> Ruling:
        """Note that a call was refused.

        Args:
            reservation_id: whose call it was.
            refusal: how.
            now: when.
            random: a random number in [0, 1), for the jitter of pauses.
        """
        was_probe = self._end_probe(reservation_id)
        if refusal.fault is Fault.DELIVERY:
            self.forget(reservation_id)
            return self._works(accuse=False)
        self._limit = max(1, self._limit // 2)
        self._hold(reservation_id, refusal, now, random, count=was_probe or not self._held)
        return Ruling(held=True)

    def forget(self, reservation_id: ReservationId) -> None:
        """Note that a reservation has no delivery any more that was refused."""
        self._end_probe(reservation_id)
        self._held.pop(reservation_id, None)
        self._freed_before.discard(reservation_id)

    def _end_probe(self, reservation_id: ReservationId) -> bool:
        if self._probe != reservation_id:
            return False
        self._probe = None
        return True

    def _hold(self, reservation_id: ReservationId, refusal: Failed, now: float, random: float, *, count: bool) -> None:
        self._held.pop(reservation_id, None)
        self._held[reservation_id] = refusal.fault  # last in turn: the next probe is another's
        if count:
            self._probes_failed += 1
        asked_for = refusal.retry_after_seconds or 0.0
        if count or asked_for:
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._probes_failed - 1, 10))
            self._probe_at = max(self._probe_at, now + max(asked_for, pause * (1 - JITTER * random)))
        if refusal.fault is Fault.OVERLOAD or len(self._held) >= OPENS_AT:
            self.is_open = True
        self.reason = refusal.reason

    def _works(self, *, accuse: bool) -> Ruling:
        freed, charged = [], []
        for reservation_id, fault in self._held.items():
            if reservation_id == self._probe:
                continue
            accused = accuse and fault is Fault.ENDPOINT
            if accused and reservation_id in self._freed_before:
                self._freed_before.discard(reservation_id)
                charged.append(reservation_id)
            else:
                if accused:
                    self._freed_before.add(reservation_id)
                freed.append(reservation_id)
        self._held.clear()
        self._probe = None
        self._probes_failed = 0
        self._probe_at = 0.0
        self._limit = 1 if self.is_open else min(self._max_in_flight, self._limit + 1)
        self.is_open = False
        self.reason = None
        return Ruling(freed=tuple(freed), charged=tuple(charged))
