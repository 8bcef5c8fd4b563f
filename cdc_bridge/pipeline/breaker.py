"""Circuit breaker: tells a failing endpoint from a failing reservation.

A failure such as a time-out or a 503 may be the fault of either (:class:`~cdc_bridge.transport.outcome.Fault`), so it
counts as nobody's yet: the delivery is *held*, unsettled and with its retry schedule untouched.

* While few deliveries are held, the others go ahead, and the held ones are tried one at a time after growing pauses.
* If several are held with no success in between, or the endpoint itself asks for a pause (429, ``Retry-After``), the
  breaker *opens*: only one probe at a time is sent, after growing pauses.
* Whatever shows that the endpoint works closes it again. What was held is queued again, its failure counted as
  nobody's, and requests ramp up from one at a time: each success admits one more, each failure halves their number.
* A delivery that is released by another's success, fails again, and sees another succeed again has failed amid
  successes: the failure is its own (:func:`is_at_fault`). It goes on by its retry schedule and delays only its
  reservation.

A response such as 422 speaks of its delivery alone. It shows that the endpoint works, and says nothing about other
deliveries.

Reference for growing and halving: AIMD as in TCP's congestion control (RFC 5681).
"""

from __future__ import annotations

from cdc_bridge.backoff import Backoff
from cdc_bridge.model import ReservationId
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.transport.outcome import Failed, Fault

OPENS_AT = 3
"""Held deliveries, with no success in between, that open the breaker."""

PAUSES = Backoff(first_seconds=1.0, longest_seconds=60.0, jitter=0.1)
"""Pauses between probes."""


def is_at_fault(held: InFlight) -> bool:
    """Return whether a held delivery's failure is its own, now that another one succeeded.

    If not, it is suspected from now on, unless the endpoint only asked for a pause.
    """
    outcome = held.last_attempt.outcome if held.last_attempt else None
    if not isinstance(outcome, Failed) or outcome.fault is not Fault.ENDPOINT:
        return False
    if held.suspected:
        return True
    held.suspected = True
    return False


class Breaker:
    """One endpoint's breaker. It has no clock: ``now`` is in seconds on any clock that never goes back."""

    def __init__(self, max_in_flight: int) -> None:
        """Begin closed.

        Args:
            max_in_flight: Maximum number of requests in flight while the endpoint works.
        """
        self._max_in_flight = max_in_flight
        self._limit = max_in_flight
        self._probe: ReservationId | None = None
        self._probes_failed = 0
        self._probe_at: float | None = None
        self.is_open = False
        self.reason: str | None = None
        """The last failure that is not charged to a delivery; ``None``: the endpoint works."""

    @property
    def is_failing(self) -> bool:
        """Whether the endpoint is failing: the breaker is open, or a probe failed and nothing succeeded since."""
        return self.is_open or self._probes_failed > 1

    @property
    def probe_at(self) -> float | None:
        """When the next probe is due; ``None``: the endpoint works, or a probe is in flight."""
        return self._probe_at if self._probe is None else None

    def allows(self, under_way: int) -> int:
        """Return how many requests may be sent beside those in flight, probes not counted."""
        return 0 if self.is_open else max(0, self._limit - under_way)

    def probe_now(self, now: float) -> None:
        """Have the next probe sent now, whatever pause the endpoint asked for."""
        if self._probe_at is not None:
            self._probe_at = min(self._probe_at, now)

    def begin_probe(self, reservation_id: ReservationId) -> None:
        """Note that a probe is sent; its outcome has to be reported."""
        self._probe = reservation_id

    def cancel_probe(self, reservation_id: ReservationId) -> None:
        """Note that a delivery ended without a request: if it was the probe, the next one is due at once."""
        if self._probe == reservation_id:
            self._probe = None

    def succeeded(self) -> None:
        """Note that the endpoint works, whichever request showed it. What is held has to be released."""
        self._probe = None
        self._probes_failed = 0
        self._probe_at = None
        self._limit = 1 if self.is_open else min(self._max_in_flight, self._limit + 1)
        self.is_open = False
        self.reason = None

    def failed(self, reservation_id: ReservationId, failure: Failed, *, held: int, now: float, random: float) -> None:
        """Note a failure that is not charged to a delivery yet. Its delivery is held.

        Args:
            reservation_id: The reservation of the delivery.
            failure: The outcome.
            held: How many deliveries are held, this one included.
            now: The time.
            random: A random number in [0, 1), for the jitter of pauses.
        """
        was_probe = self._probe == reservation_id
        self.cancel_probe(reservation_id)
        probing = self._probe is not None
        counts = was_probe or (held == 1 and not probing)  # not what was in flight when it opened
        self._limit = max(1, self._limit // 2)
        self._probes_failed += counts
        asked_for = failure.retry_after_seconds or 0.0
        if counts or asked_for:
            pause = PAUSES.pause_seconds(self._probes_failed, random)
            self._probe_at = max(self._probe_at or 0.0, now + max(asked_for, pause))
        if failure.fault is Fault.OVERLOAD or held + probing >= OPENS_AT:
            self.is_open = True
        self.reason = failure.reason
