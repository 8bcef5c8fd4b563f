"""Log lines, metrics and recent figures of one endpoint's deliveries.

Each line has the change's number and, where a request was sent, its ``webhook-id``: either of them finds a delivery's
way from the change log to its 2xx.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import structlog

from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.last_hour import LastHour, with_attempt
from cdc_bridge.metrics import SERIES
from cdc_bridge.model import Change, DeliveryState
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault

RATE_OVER_SECONDS = 60.0
FLAW_AGAIN_SECONDS = 3600.0
"""A flaw of an endpoint's responses is logged once in so long."""

_log = structlog.get_logger(__name__)


class Telemetry:
    """Reports one endpoint's deliveries. It has no clock: ``now`` is in seconds on any clock.

    It stays for each endpoint that had something to deliver, so it is small.
    """

    __slots__ = (
        "_delivered_in", "_endpoint", "_flaw_logged_at", "_metrics", "last_failure", "last_failure_at", "last_hour",
        "last_success_at",
    )  # fmt: skip

    def __init__(self, endpoint: str, last_hour: LastHour | None) -> None:
        """Begin to report.

        Args:
            endpoint: The endpoint's name.
            last_hour: Attempts under earlier leases; ``None``: none are known.
        """
        self._endpoint = endpoint
        self._metrics = SERIES.of(endpoint)
        self._delivered_in: list[tuple[int, int]] = []  # by the second
        self.last_success_at: datetime | None = None
        self.last_failure_at: datetime | None = None
        self.last_failure: str | None = None
        self._flaw_logged_at: dict[str, float] | None = None
        self.last_hour = last_hour
        """Attempts by the minute; ``None``: there was none."""

    def state(self, now: float) -> EndpointState:
        """Return the state of an endpoint of which nothing is in flight."""
        return EndpointState(
            deliveries_per_second=self.delivered_per_second(now),
            last_success_at=self.last_success_at,
            last_failure_at=self.last_failure_at,
            last_failure=self.last_failure,
            last_hour=self.last_hour,
        )

    def read(self, changes: list[Change]) -> None:
        """Report changes that were read from the change log."""
        self._metrics.changes_read.inc(len(changes))
        if not _log.is_enabled_for(logging.DEBUG):
            return
        for change in changes:
            _log.debug(
                "change read",
                endpoint=self._endpoint,
                reservation_id=change.reservation_id,
                seq=change.seq,
                operation=change.operation.value,
                changed_at=change.changed_at.isoformat(),
            )

    def attempted(self, delivery: InFlight, attempt: Attempt, now: float) -> None:
        """Count an attempt."""
        ended_at = attempt.began_at + timedelta(seconds=attempt.duration_seconds)
        if attempt.message_id is not None:
            self._metrics.request_seconds.observe(attempt.duration_seconds)
            delivered = isinstance(attempt.outcome, Delivered)
            self.last_hour = with_attempt(self.last_hour, ended_at, delivered=delivered)
        if attempt.flaw is not None:
            self._report_flaw(attempt.flaw, attempt, now)
        match attempt.outcome:
            case Delivered():
                self.last_success_at = ended_at
                self._count_delivered(int(now))
                since_commit = max(0.0, (ended_at - delivery.change.changed_at).total_seconds())
                self._metrics.commit_to_delivered_seconds.observe(since_commit)
            case Failed(reason=reason):
                self.last_failure_at, self.last_failure = ended_at, reason

    def _report_flaw(self, flaw: str, attempt: Attempt, now: float) -> None:
        logged_at = self._flaw_logged_at = self._flaw_logged_at or {}
        if now < logged_at.get(flaw, float("-inf")) + FLAW_AGAIN_SECONDS:
            return
        logged_at[flaw] = now
        _log.warning(
            "malformed response",
            endpoint=self._endpoint,
            flaw=flaw,
            message_id=attempt.message_id,
            status=attempt.outcome.status,
            consequence="the connection is closed; the status counts",
        )

    def settled(self, delivery: InFlight, attempt: Attempt) -> None:
        """Report a delivery that an attempt has settled."""
        if isinstance(attempt.outcome, Delivered) and not _log.is_enabled_for(logging.DEBUG):
            return
        facts = self._facts(delivery, attempt)
        match attempt.outcome:
            case Delivered():
                ended_at = attempt.began_at + timedelta(seconds=attempt.duration_seconds)
                since_commit = (ended_at - delivery.change.changed_at).total_seconds()
                _log.debug("delivered", **facts, seconds_since_commit=round(since_commit, 3))
            case Failed(reason=reason, fault=fault):
                pause = delivery.pause_seconds
                failed = "delivery rejected" if fault is Fault.DELIVERY else "delivery failed"
                _log.warning(
                    "delivery dead" if delivery.state is DeliveryState.DEAD else failed,
                    **facts,
                    reason=reason,
                    **({} if pause is None else {"next_attempt_in_seconds": round(pause, 1)}),
                )

    def held(self, delivery: InFlight, attempt: Attempt, next_probe_in_seconds: float | None) -> None:
        """Report a failed attempt that is not charged to its delivery yet."""
        pause = {} if next_probe_in_seconds is None else {"next_attempt_in_seconds": round(next_probe_in_seconds, 1)}
        if isinstance(attempt.outcome, Failed):
            _log.debug("attempt failed", **self._facts(delivery, attempt), reason=attempt.outcome.reason, **pause)

    def recorded(self, delivery: InFlight) -> None:
        """Report a delivery that is in the delivery log."""
        self._metrics.deliveries[delivery.state].inc()
        if delivery.skip_reason is not None:
            self._metrics.skipped[delivery.skip_reason].inc()
        if not _log.is_enabled_for(logging.DEBUG):
            return
        skipped = {} if delivery.skip_reason is None else {"skip_reason": delivery.skip_reason.value}
        _log.debug("delivery recorded", **self._delivery(delivery), state=delivery.state.value, **skipped)

    def not_recorded(self, delivery: InFlight, reason: str) -> None:
        """Report a delivery that the delivery log rejects."""
        facts = self._delivery(delivery)
        _log.error("delivery cannot be recorded", **facts, state=delivery.state.value, reason=reason)

    def delivered_per_second(self, now: float) -> float:
        """Return the deliveries per second over the last minute."""
        self._drop_old(int(now))
        return sum(count for _, count in self._delivered_in) / RATE_OVER_SECONDS

    def _count_delivered(self, second: int) -> None:
        if self._delivered_in and self._delivered_in[-1][0] == second:
            self._delivered_in[-1] = (second, self._delivered_in[-1][1] + 1)
        else:
            self._drop_old(second)
            self._delivered_in.append((second, 1))

    def _drop_old(self, second: int) -> None:
        while self._delivered_in and self._delivered_in[0][0] <= second - RATE_OVER_SECONDS:
            del self._delivered_in[0]

    def _delivery(self, delivery: InFlight) -> dict[str, object]:
        change = delivery.change
        return {"endpoint": self._endpoint, "reservation_id": change.reservation_id, "seq": change.seq}

    def _facts(self, delivery: InFlight, attempt: Attempt) -> dict[str, object]:
        return self._delivery(delivery) | {
            "message_id": attempt.message_id,
            "attempt": delivery.attempts,
            "status": attempt.outcome.status,
            "seconds": round(attempt.duration_seconds, 3),
        }
