from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cdc_bridge.cli.times import parse_time

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
"""In Berlin it is half past midnight, on the next day."""


def parsed(text: str, now: datetime = NOW) -> str:
    def local(at: datetime) -> datetime:
        return at.replace(tzinfo=BERLIN) if at.tzinfo is None else at.astimezone(BERLIN)

    return f"{parse_time(text, now, local):%Y-%m-%dT%H:%M:%S%z}"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", "2026-07-01T22:28:30+0000"),
        ("15m", "2026-07-01T22:15:00+0000"),
        ("1h", "2026-07-01T21:30:00+0000"),
        (" 2 D ", "2026-06-29T22:30:00+0000"),
        ("0s", "2026-07-01T22:30:00+0000"),
        ("today", "2026-07-01T22:00:00+0000"),
        ("Yesterday", "2026-06-30T22:00:00+0000"),
        ("2026-07-01", "2026-06-30T22:00:00+0000"),
        ("2026-07-01T18:30", "2026-07-01T16:30:00+0000"),
        ("2026-01-01T18:30", "2026-01-01T17:30:00+0000"),
        ("2026-07-01T18:30:00+01:00", "2026-07-01T17:30:00+0000"),
        ("2026-07-01T18:30:00Z", "2026-07-01T18:30:00+0000"),
    ],
)
def test_time_as_it_is_typed(text: str, at: str) -> None:
    assert parsed(text) == at


def test_yesterday_begins_at_midnight_though_clocks_were_changed_since() -> None:
    assert parsed("yesterday", datetime(2026, 10, 26, 12, tzinfo=UTC)) == "2026-10-24T22:00:00+0000"
    assert parsed("today", datetime(2026, 10, 26, 12, tzinfo=UTC)) == "2026-10-25T23:00:00+0000"


@pytest.mark.parametrize("text", ["", "soon", "1", "1w", "-1h", "1h30m", "1.5h", "tomorrow", "2026-13-01", "h"])
def test_what_is_no_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|month"):
        parsed(text)


def test_time_before_there_are_dates_is_an_error() -> None:
    with pytest.raises(OverflowError):
        parsed("999999999d")
