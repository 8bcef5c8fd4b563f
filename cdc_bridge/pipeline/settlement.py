"""What becomes of a delivery after an attempt: the row that the ledger keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from cdc_bridge.model import Change, Delivery, DeliveryState, SkipReason
from cdc_bridge.pipeline.retry_schedule import pause_seconds
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed


@dataclass(frozen=True, slots=True)
class Settlement:
    """Where a delivery stands now."""

    change: Change
    state: DeliveryState
    attempts: int
    failures: int
    pause_seconds: float | None = None
    """How long a waiting delivery waits for its next attempt, from being recorded on."""
    last_attempt: Attempt | None = None
    skip_reason: SkipReason | None = None

    @property
    def last_status(self) -> int | None:
        """HTTP status of the last answer, if there was one."""
        return self.last_attempt.outcome.status if self.last_attempt else None

    @property
    def last_error(self) -> str | None:
        """Why the last attempt was refused, if it was."""
        outcome = self.last_attempt.outcome if self.last_attempt else None
        return outcome.reason if isinstance(outcome, Failed) else None


def after_attempt(delivery: Delivery, attempt: Attempt, random: float) -> Settlement:
    """Return where a delivery stands after an attempt.

    Args:
        delivery: it, with this attempt counted, and not yet its failure.
        attempt: what was done.
        random: a random number in [0, 1), for the schedule's jitter.
    """
    change, attempts, failures = delivery.change, delivery.attempts, delivery.failures
    match attempt.outcome:
        case Delivered():
            return Settlement(change, DeliveryState.DELIVERED, attempts, failures, last_attempt=attempt)
        case Failed() as refusal:
            failures += 1
            pause = pause_seconds(failures, random)
            if pause is not None:
                pause = max(pause, refusal.retry_after_seconds or 0.0)
            state = DeliveryState.DEAD if pause is None else DeliveryState.RETRYING
            return Settlement(change, state, attempts, failures, pause, attempt)
        case _ as never:
            assert_never(never)


def gone(delivery: Delivery) -> Settlement:
    """The reservation is not there any more, so there is nothing to post."""
    return Settlement(
        delivery.change, DeliveryState.SKIPPED, delivery.attempts, delivery.failures, skip_reason=SkipReason.DELETED
    )


def superseded(delivery: Delivery) -> Settlement:
    """A newer call for the same reservation was accepted."""
    return Settlement(delivery.change, DeliveryState.SUPERSEDED, delivery.attempts, delivery.failures)
