from __future__ import annotations

from datetime import UTC, datetime

from cdc_bridge.endpoints.last_hour import MINUTES, LastHour
from cdc_bridge.web.hour_chart import HEIGHT, STEP, Bar, hour_chart

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def hour(**calls: dict[int, int]) -> LastHour:
    """Return an hour with so many attempts in some of its minutes."""
    counted = {kind: tuple(of.get(minute, 0) for minute in range(MINUTES)) for kind, of in calls.items()}
    return LastHour(NOON, **counted)


def test_hour_without_an_attempt_has_no_bar() -> None:
    chart = hour_chart(LastHour(NOON))
    assert (chart.bars, chart.delivered, chart.failed, chart.most) == ([], 0, 0, 0)


def test_bars_stand_on_one_another_and_none_is_higher_than_the_chart() -> None:
    chart = hour_chart(hour(delivered={0: 100, 59: 50}, failed={59: 50}))
    assert [(bar.kind, bar.x) for bar in chart.bars] == [
        ("delivered", 0),
        ("delivered", 59 * STEP),
        ("failed", 59 * STEP),
    ]
    first, below, above = chart.bars
    assert first.y + first.height == below.y + below.height == HEIGHT
    assert above.y + above.height == below.y
    assert min(bar.y for bar in chart.bars) >= 0
    assert (chart.delivered, chart.failed, chart.most) == (150, 50, 100)


def test_one_attempt_beside_many_is_still_seen() -> None:
    chart = hour_chart(hour(delivered={5: 1_000_000}, failed={6: 1}))
    assert chart.bars[1] == Bar("failed", 6 * STEP, HEIGHT - 2, 2)
