"""One delivery in flight, and all that is known of it.

queued -> sending -> settled -> recorded
            |  ^
            v  |
            held
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from cdc_bridge.model import Change, DeliveryState, SkipReason
from cdc_bridge.pipeline.recorded_position import PageUnderWay
from cdc_bridge.pipeline.retry_schedule import pause_seconds
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault


class Stage(Enum):
    """Where a delivery is on its way through the queue."""

    QUEUED = auto()
    """Waiting for its turn."""
    SENDING = auto()
    """Taken by the dispatcher: its body is being loaded or its request is in flight."""
    HELD = auto()
    """Its attempt failed, and it is not known yet whose fault that is. Only a probe or the next success moves it on."""
    SETTLED = auto()
    """Its state is known and has to be recorded."""


@dataclass(slots=True, eq=False)
class InFlight:
    """The record of one delivery from its hand-over until it is in the delivery log."""

    change: Change
    attempts: int = 0
    """Requests sent for it so far, over all daemons."""
    failures: int = 0
    """Failed attempts that count as its own: its place in the retry schedule."""
    page: PageUnderWay | None = None
    """The page of the change log that brought it; ``None``: it is a retry from the delivery log."""
    stage: Stage = Stage.QUEUED
    last_attempt: Attempt | None = None
    """The last attempt of this daemon."""
    attempted_at: float = 0.0
    """When that ended, by the event loop's clock."""
    may_have_been_sent: bool = False
    """Whether a daemon before this one may have sent it, or a change that it supersedes, and not recorded that."""
    suspected: bool = False
    """It failed before another one succeeded, once. If that happens again, the failure counts as its own."""
    state: DeliveryState = DeliveryState.QUEUED
    """The state to record, once it is settled."""
    skip_reason: SkipReason | None = None
    """Why it was skipped, if it was."""
    pause_seconds: float | None = None
    """Time until the next attempt of a delivery to retry, counted from when it is recorded."""

    def apply(self, attempt: Attempt, random: float, held_seconds: float = 0.0) -> None:
        """Set its state by an attempt that counts as its own.

        Args:
            attempt: The attempt.
            random: A random number in [0, 1), for the jitter of the retry schedule.
            held_seconds: Time since the attempt, which its pause includes.
        """
        self.last_attempt = attempt
        match attempt.outcome:
            case Delivered():
                self.state = DeliveryState.DELIVERED
            case Failed(retry_after_seconds=retry_after):
                self.failures += 1
                pause = pause_seconds(self.failures, random)
                self.state = DeliveryState.DEAD if pause is None else DeliveryState.RETRYING
                pause = None if pause is None else max(pause, retry_after or 0.0)
                self.pause_seconds = None if pause is None else max(0.0, pause - held_seconds)
            case _ as never:
                assert_never(never)

    @property
    def is_rejected(self) -> bool:
        """Whether the last attempt was rejected."""
        outcome = self.last_attempt.outcome if self.last_attempt else None
        return isinstance(outcome, Failed) and outcome.fault is Fault.DELIVERY

    @property
    def is_unsent_change(self) -> bool:
        """Whether it is a change that was never sent, and no retry, replay or backfill."""
        return self.page is not None and self.last_attempt is None

    @property
    def may_be_unchanged(self) -> bool:
        """Whether the delivery log tells what the endpoint has of its reservation.

        Not once a request was sent that may have arrived although it failed. What somebody queued is sent in any case.
        """
        return self.page is not None and not self.attempts and not self.may_have_been_sent

    def keeps(self, attempt: Attempt) -> bool:
        """Return whether an attempt of it is kept: any but a first one that succeeded."""
        if isinstance(attempt.outcome, Failed):
            return True
        return self.attempts > 1 or self.failures > 0 or self.last_attempt is not None

    @property
    def last_status(self) -> int | None:
        """HTTP status of the last response, if there was one."""
        return self.last_attempt.outcome.status if self.last_attempt else None

    @property
    def last_error(self) -> str | None:
        """Why the last attempt failed, if it did."""
        outcome = self.last_attempt.outcome if self.last_attempt else None
        return outcome.reason if isinstance(outcome, Failed) else None


@dataclass(frozen=True, slots=True, eq=False)
class KeptAttempt:
    """An attempt that people are to see, although its delivery may not be in the delivery log yet."""

    change: Change
    number: int
    """Which request for the delivery it was, as far as this daemon knows."""
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class DueRetry:
    """A delivery in the delivery log whose next attempt is due."""

    change: Change
    attempts: int
    failures: int
    overtaken: bool
    """A newer change of its reservation was delivered, so a request now would go back in time."""
