"""Times as people type them: how long ago, a day, or ISO 8601."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import typer

from cdc_bridge.console import print_line

ACCEPTED = "90s, 15m, 1h or 2d ago, today, yesterday, or ISO 8601. Local time unless it has a zone."
"""For the help of an option."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGO = re.compile(r"([0-9]{1,9})\s*([smhd])")
_DAYS_BACK = {"today": 0, "yesterday": 1}


def time_option(name: str, help_: str) -> Any:
    """Return an option for a time. The command says how it has read one without a zone, in local time and in UTC."""

    def parse(text: str) -> datetime:
        try:
            at = parse_time(text, datetime.now(UTC))
        except (ValueError, OverflowError):
            raise typer.BadParameter(
                f"{text} is not a time such as 1h, 2d, yesterday, 2026-07-01, 2026-07-01T18:30 or "
                "2026-07-01T18:30:00+01:00",
            ) from None
        if _leaves_zone_open(text):
            local, utc = f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}", f"{at:%Y-%m-%d %H:%M:%S} UTC"
            print_line(f"{name}: {utc if local == utc else f'{local}, {utc}'}.", err=True)
        return at

    return typer.Option(name, metavar="TIME", parser=parse, help=help_)


def parse_time(text: str, now: datetime, local: Callable[[datetime], datetime] = datetime.astimezone) -> datetime:
    """Return the time, in UTC, that a text means.

    Args:
        text: ``90s``, ``15m``, ``1h`` or ``2d`` (ago), ``today`` or ``yesterday`` (its midnight), or ISO 8601.
        now: The time, with a zone.
        local: Returns a time with the zone of whoever typed it: one without a zone as it is on their clock.

    Raises:
        ValueError: It means none.
        OverflowError: It is further away than there are dates.
    """
    text = text.strip()
    word = text.lower()
    if (ago := _AGO.fullmatch(word)) is not None:
        return now.astimezone(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    if (days := _DAYS_BACK.get(word)) is not None:
        day = local(now).date() - timedelta(days=days)
        return local(datetime.combine(day, time())).astimezone(UTC)
    given = datetime.fromisoformat(text)
    return (local(given) if given.tzinfo is None else given).astimezone(UTC)


def _leaves_zone_open(text: str) -> bool:
    word = text.strip().lower()
    return word in _DAYS_BACK or (not _AGO.fullmatch(word) and datetime.fromisoformat(text.strip()).tzinfo is None)
