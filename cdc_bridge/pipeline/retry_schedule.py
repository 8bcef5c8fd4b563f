"""When a failed delivery is retried.

The schedule is dense at first, because a booking is useful to a till within minutes, and ends after days, because a
fault over a weekend must not cost one. It is kept in the delivery log, so a restart neither forgets nor shortens it.
"""

from __future__ import annotations

SCHEDULE_SECONDS = (5, 15, 60, 5 * 60, 15 * 60, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)
"""Pause after the first, second, ... failed attempt, in seconds."""

JITTER = 0.1
"""A pause is up to this part shorter or longer, so that deliveries that failed together are not retried together."""


def pause_seconds(failures: int, random: float) -> float | None:
    """Return the pause before the next attempt, or ``None`` after the last step: the delivery is dead.

    It is a pause rather than a time, as only the database's clock counts: several daemons have several clocks.

    Args:
        failures: The failed attempts that count as the delivery's own, the last one included; at least 1.
        random: A random number in [0, 1).
    """
    if failures > len(SCHEDULE_SECONDS):
        return None
    return SCHEDULE_SECONDS[failures - 1] * (1 + JITTER * (2 * random - 1))
