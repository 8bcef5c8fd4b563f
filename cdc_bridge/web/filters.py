"""Times and numbers as they are read on the pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def utc(at: datetime | None) -> str:
    """Return a time for people, in UTC; the page's script puts the reader's own in its place."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: datetime | None) -> str:
    """Return a time for machines."""
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def age(seconds_: float | timedelta | None) -> str:
    """Return how long something takes or is ago."""
    if seconds_ is None:
        return ""
    seconds_ = max(0.0, seconds_.total_seconds() if isinstance(seconds_, timedelta) else seconds_)
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds_ < limit:
            return f"{seconds_ / unit:.0f} {name}"
    return f"{seconds_ / 86_400:.0f} days"


def seconds(value: float | None) -> str:
    """Return how long a call took."""
    return "" if value is None else f"{value:.3f} s"


def number(value: float | None) -> str:
    """Return a number with thousands apart."""
    return "" if value is None else f"{value:,}"
