"""When a refused delivery is tried again.

The schedule is dense at first, because a booking is of use to a till within minutes, and ends after days,
because a fault over a weekend must not cost one. It lives in the ledger, so a restart neither
forgets nor shortens it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

SCHEDULE_SECONDS = (5, 15, 60, 5 * 60, 15 * 60, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)
"""Pause after the first, second, ... refused attempt, in seconds."""

JITTER = 0.1
"""A pause is up to this part shorter or longer, so that deliveries refused together are not tried together."""


def next_attempt_at(attempts: int, now: datetime, random: float) -> datetime | None:
    """Return when to try again, or ``None`` after the last step: the delivery is dead.

    Args:
        attempts: attempts made so far, the one just refused included; at least 1.
        now: the time of the refusal.
        random: a random number in [0, 1).
    """
    if attempts > len(SCHEDULE_SECONDS):
        return None
    pause = SCHEDULE_SECONDS[attempts - 1] * (1 + JITTER * (2 * random - 1))
    return now + timedelta(seconds=pause)
