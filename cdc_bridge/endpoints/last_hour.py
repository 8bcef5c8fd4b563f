"""How many calls of an endpoint were accepted and refused in each minute of the last hour.

A daemon counts in memory, and writes what it counted into the endpoint's row whenever it renews its lease and when it
gives the endpoint back. Whoever takes the endpoint goes on from there. Of a daemon that was killed, what it counted
since its last renewal is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MINUTES = 60

_NONE = (0,) * MINUTES


@dataclass(frozen=True, slots=True)
class LastHour:
    """Calls in each of sixty minutes, the oldest first."""

    last_minute_at: datetime
    """When the last of them began."""
    accepted: tuple[int, ...] = _NONE
    refused: tuple[int, ...] = _NONE

    @property
    def calls(self) -> Sequence[tuple[int, int]]:
        """Of each minute, how many were accepted and how many refused."""
        return list(zip(self.accepted, self.refused, strict=True))

    def ending(self, at: datetime) -> LastHour:
        """Return the hour that ends with the minute of a time; where nothing is known of a minute, it had no calls."""
        minute_at = _minute_of(at)
        passed = (minute_at - self.last_minute_at) // timedelta(minutes=1)
        return LastHour(minute_at, _moved(self.accepted, passed), _moved(self.refused, passed))


def with_call(hour: LastHour | None, at: datetime, *, accepted: bool) -> LastHour:
    """Return an hour with one more call.

    Args:
        hour: as it was; ``None``: there was no call.
        at: when the call ended. Where a clock was put back, it counts in its minute if that is in the hour; if not, the
            hour begins anew, as else nothing would be counted for as long as the clock was ahead.
        accepted: whether it was accepted, or else refused.
    """
    hour = LastHour(_minute_of(at)) if hour is None else hour
    back = (hour.last_minute_at - _minute_of(at)) // timedelta(minutes=1)
    if not 0 <= back < MINUTES:
        hour, back = hour.ending(at), 0
    index = MINUTES - 1 - back
    if accepted:
        return LastHour(hour.last_minute_at, _one_more(hour.accepted, index), hour.refused)
    return LastHour(hour.last_minute_at, hour.accepted, _one_more(hour.refused, index))


def _minute_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _moved(counts: tuple[int, ...], passed: int) -> tuple[int, ...]:
    empty = (0,) * min(abs(passed), MINUTES)
    return (counts + empty)[-MINUTES:] if passed >= 0 else (empty + counts)[:MINUTES]


def _one_more(counts: tuple[int, ...], index: int) -> tuple[int, ...]:
    return (*counts[:index], counts[index] + 1, *counts[index + 1 :])
