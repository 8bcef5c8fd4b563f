"""When a refused delivery is tried again.

The schedule is dense at first, because a booking is of use to a till within minutes, and ends after days,
because a fault over a weekend must not cost one. It lives in the ledger, so a restart neither
forgets nor shortens it.
"""

from __future__ import annotations

SCHEDULE_SECONDS = (5, 15, 60, 5 * 60, 15 * 60, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)
"""Pause after the first, second, ... refused attempt, in seconds."""

JITTER = 0.1
"""A pause is up to this part shorter or longer, so that deliveries refused together are not tried together."""


def pause_seconds(failures: int, random: float) -> float | None:
    """Return how long to wait before the next attempt, or ``None`` after the last step: the delivery is dead.

    It is a pause and not a time, as the time is the database's to tell: several daemons have several clocks.

    Args:
        failures: refusals put down to the delivery so far, the last one included; at least 1.
        random: a random number in [0, 1).
    """
    if failures > len(SCHEDULE_SECONDS):
        return None
    return SCHEDULE_SECONDS[failures - 1] * (1 + JITTER * (2 * random - 1))
