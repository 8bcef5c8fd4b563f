"""Chart of an endpoint's last hour: a bar for each minute, delivered below and failed on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdc_bridge.endpoints.last_hour import MINUTES, LastHour

HEIGHT = 40
STEP = 4
WIDTH = MINUTES * STEP
_LEAST = 2
"""Minimum height of a bar."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, in the chart's own units."""

    kind: str
    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class HourChart:
    """The chart, and what is written beside it."""

    bars: Sequence[Bar]
    delivered: int
    failed: int
    most: int
    """Attempts in the busiest minute."""


def hour_chart(hour: LastHour) -> HourChart:
    """Return the chart of an hour."""
    most = max(delivered + failed for delivered, failed in hour.attempts)
    bars = []
    for minute, (delivered, failed) in enumerate(hour.attempts):
        top = HEIGHT
        for kind, count in (("delivered", delivered), ("failed", failed)):
            if count:
                height = max(_LEAST, round((HEIGHT - _LEAST) * count / most))
                top -= height
                bars.append(Bar(kind, minute * STEP, max(0, top), height))
    return HourChart(bars, sum(hour.delivered), sum(hour.failed), most)
