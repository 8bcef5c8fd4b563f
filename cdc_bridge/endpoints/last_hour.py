"""Attempts of an endpoint in each minute of the last hour.

A daemon counts in memory and reports the counts in the endpoint's row with each lease renewal and with the release. The
daemon that leases the endpoint next continues from there. After ``kill -9`` the counts since the last renewal are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MINUTES = 60

_NONE = (0,) * MINUTES
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class LastHour:
    """Attempts in each of sixty minutes, oldest first."""

    last_minute_at: datetime
    """Start of the last minute."""
    delivered: tuple[int, ...] = _NONE
    failed: tuple[int, ...] = _NONE

    @property
    def attempts(self) -> Sequence[tuple[int, int]]:
        """Pairs of delivered and failed attempts, a pair per minute."""
        return list(zip(self.delivered, self.failed, strict=True))

    def ending(self, at: datetime) -> LastHour:
        """Return the hour that ends with the minute of a time; minutes without counts have none."""
        minute_at = _minute_of(at)
        passed = (minute_at - self.last_minute_at) // _MINUTE
        return LastHour(minute_at, _moved(self.delivered, passed), _moved(self.failed, passed))


def with_attempt(hour: LastHour | None, at: datetime, *, delivered: bool) -> LastHour:
    """Return an hour with one more attempt.

    Args:
        hour: The hour before; ``None``: no attempt was counted.
        at: When the attempt ended. After a clock was set back, the attempt counts in its minute if the hour has it.
            If not, the hour starts anew: else nothing would be counted for as long as the clock was ahead.
        delivered: Whether the attempt delivered.
    """
    minute_at = _minute_of(at)
    hour = LastHour(minute_at) if hour is None else hour
    back = (hour.last_minute_at - minute_at) // _MINUTE
    if not 0 <= back < MINUTES:
        hour, back = hour.ending(at), 0
    index = MINUTES - 1 - back
    if delivered:
        return LastHour(hour.last_minute_at, _one_more(hour.delivered, index), hour.failed)
    return LastHour(hour.last_minute_at, hour.delivered, _one_more(hour.failed, index))


def _minute_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _moved(counts: tuple[int, ...], passed: int) -> tuple[int, ...]:
    empty = (0,) * min(abs(passed), MINUTES)
    return (counts + empty)[-MINUTES:] if passed >= 0 else (empty + counts)[:MINUTES]


def _one_more(counts: tuple[int, ...], index: int) -> tuple[int, ...]:
    return (*counts[:index], counts[index] + 1, *counts[index + 1 :])
