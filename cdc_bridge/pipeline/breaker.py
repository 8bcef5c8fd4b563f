"""Circuit breaker: tells a failing endpoint from a failing reservation.

A failed attempt counts as nobody's at first: the delivery is *held*, unsettled and with its retry schedule untouched.
What other deliveries come to tells whose fault it is.

A failure such as a time-out or a 503:

* While few deliveries are held, the others go ahead, and the held ones are tried one at a time after growing pauses.
* If several are held with no success in between, or the endpoint itself asks for a pause (429, ``Retry-After``), the
  breaker *opens*: only one probe at a time is sent, after growing pauses.
* A success closes it again; so does a probe that is rejected, as the endpoint responds, unless it rejects everything.
  What was held is queued again, its failure counted as nobody's, and requests ramp up from one at a time: each response
  admits one more, each failure halves their number.
* A delivery that is released by another's success, fails again, and sees another succeed again has failed amid
  successes: the failure is its own (:func:`is_at_fault`). It goes on by its retry schedule and delays only its
  reservation.

A rejection, such as 422, most often speaks of its delivery; but a server that rejects everything, as it wants a client
certificate or accepts no POST, uses the same statuses. So a rejection waits for a moment (:data:`VERDICT_SECONDS`):

* If another delivery succeeds within that moment, or did before, or too few reservations were rejected since the last
  success to tell, it is the delivery's own.
* If several reservations were rejected and none accepted, the endpoint is failing and the breaker opens. A change that
  was never sent is then a probe without a growing pause: the endpoint responds, and may reject a replay alone.
* How many are several depends on how many rejections in a row are usual there: an endpoint that rejects every second
  booking rejects five in a row now and then.
* A delivery that was rejected before, as its own fault, is no new evidence. It keeps to its schedule.

Reference for growing and halving: AIMD as in TCP's congestion control (RFC 5681).
"""

from __future__ import annotations

from cdc_bridge.backoff import Backoff
from cdc_bridge.model import ReservationId
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.transport.outcome import Failed, Fault

OPENS_AT = 3
"""Held deliveries, or reservations rejected, with no success in between, that open the breaker."""

_TIMES_USUAL = 2.0
"""Rejections in a row that open it, in proportion to those that are usual."""
_USUAL_FADES = 0.95
"""Part of what is usual that is left after each success."""
_MOST_REJECTED = 1000

VERDICT_SECONDS = 1.0
"""For which a rejection, and those that follow it, wait for another success."""

PAUSES = Backoff(first_seconds=1.0, longest_seconds=60.0, jitter=0.1)
"""Pauses between probes."""


def is_at_fault(held: InFlight, *, was_open: bool) -> bool:
    """Return whether a held delivery's failure is its own, now that another one succeeded.

    If not, it is suspected from now on, unless the endpoint only asked for a pause.

    Args:
        held: The delivery.
        was_open: Whether the breaker was open.
    """
    outcome = held.last_attempt.outcome if held.last_attempt else None
    if not isinstance(outcome, Failed) or outcome.fault is Fault.OVERLOAD:
        return False
    if held.suspected or (held.is_rejected and not was_open):
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
        self._probe_unsent_at: float | None = None
        self._succeeded_at = float("-inf")
        self._rejected: set[ReservationId] = set()
        self._usual = 0.0
        self._undecided: Failed | None = None
        self._undecided_since = 0.0
        self._rejecting = False
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

    @property
    def probe_unsent_at(self) -> float | None:
        """When a change that was never sent may be the next probe; ``None``: as :attr:`probe_at`."""
        return self._probe_unsent_at if self._probe is None else None

    @property
    def verdict_at(self) -> float | None:
        """When to :meth:`decide`; ``None``: no rejection waits for that."""
        return None if self._undecided is None else self._undecided_since + VERDICT_SECONDS

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

    def is_probing(self, reservation_id: ReservationId) -> bool:
        """Return whether the probe in flight is of a reservation."""
        return self._probe == reservation_id

    def cancel_probe(self, reservation_id: ReservationId) -> None:
        """Note that a delivery ended without a request: if it was the probe, the next one is due at once."""
        if self._probe == reservation_id:
            self._probe = None

    def succeeded(self, now: float) -> None:
        """Note that the endpoint accepted a delivery. What is held has to be released."""
        self._succeeded_at = now
        self._probe = None
        self._usual = max(self._usual * _USUAL_FADES, 0 if self.is_open else len(self._rejected))
        self._rejected.clear()
        self._undecided = None
        self._limit = 1 if self.is_open else min(self._max_in_flight, self._limit + 1)
        self._close()

    def failed(self, reservation_id: ReservationId, failure: Failed, *, held: int, now: float, random: float) -> None:
        """Note a failure that is not charged to a delivery yet. Its delivery is held.

        Args:
            reservation_id: The reservation of the delivery.
            failure: The outcome.
            held: How many deliveries are held that were not rejected, this one included.
            now: The time.
            random: A random number in [0, 1), for the jitter of pauses.
        """
        was_probe = self.is_probing(reservation_id)
        self.cancel_probe(reservation_id)
        probing = self._probe is not None
        # Not what was in flight when it opened.
        counts = was_probe or (not probing and (held == 1 or self._probe_at is None))
        self._limit = max(1, self._limit // 2)
        self._rejecting = False
        self._note_failure(failure, counts=counts, now=now, random=random)
        if failure.fault is Fault.OVERLOAD or held + probing >= OPENS_AT:
            self._open()
        self.reason = failure.reason

    def rejected(
        self, reservation_id: ReservationId, failure: Failed, *, before: bool, now: float, random: float
    ) -> bool:
        """Note a rejection; return whether it is the delivery's own fault already. If not, the delivery is held.

        Args:
            reservation_id: The reservation of the delivery.
            failure: The outcome.
            before: Whether the delivery was at fault before.
            now: The time.
            random: A random number in [0, 1), for the jitter of pauses.
        """
        was_probe = self.is_probing(reservation_id)
        self.cancel_probe(reservation_id)
        if not before and len(self._rejected) < _MOST_REJECTED:
            self._rejected.add(reservation_id)
        if self.is_open and (self._rejecting or (was_probe and self._are_several)):
            self._rejects(failure, counts=was_probe, now=now, random=random)
            return False
        if self.is_open and not was_probe:
            return False
        self._limit = 1 if self.is_open else min(self._max_in_flight, self._limit + 1)
        if was_probe:
            self._close()
        if before or (not self._are_several and now < self._succeeded_at + VERDICT_SECONDS):
            return True
        if self._undecided is None:
            self._undecided_since = now
        self._undecided = failure
        return False

    @property
    def _are_several(self) -> bool:
        """Whether so many reservations were rejected since the last success that it is the endpoint's fault."""
        return len(self._rejected) >= max(OPENS_AT, self._usual * _TIMES_USUAL)

    def decide(self, *, now: float, random: float) -> bool:
        """Return whether the rejections that waited for a success in vain are the endpoint's fault.

        Args:
            now: The time.
            random: A random number in [0, 1), for the jitter of pauses.
        """
        failure, self._undecided = self._undecided, None
        if failure is None or not self._are_several:
            return False
        self._open()
        self._rejects(failure, counts=True, now=now, random=random)
        return True

    def _rejects(self, failure: Failed, *, counts: bool, now: float, random: float) -> None:
        self._rejecting = True
        self.reason = f"it rejects every reservation: {failure.reason}"
        self._note_failure(failure, counts=counts, now=now, random=random)

    def _close(self) -> None:
        self._probes_failed = 0
        self._probe_at = self._probe_unsent_at = None
        self._rejecting = False
        self.is_open = False
        self.reason = None

    def _open(self) -> None:
        self.is_open = True
        self._undecided = None

    def _note_failure(self, failure: Failed, *, counts: bool, now: float, random: float) -> None:
        self._probes_failed += counts
        asked_for = failure.retry_after_seconds or 0.0
        if counts or asked_for:
            pause = PAUSES.pause_seconds(self._probes_failed, random)
            self._probe_at = max(self._probe_at or 0.0, now + max(asked_for, pause))
            soon = now + max(asked_for, PAUSES.first_seconds)
            self._probe_unsent_at = max(self._probe_unsent_at or 0.0, soon) if self._rejecting else self._probe_at
