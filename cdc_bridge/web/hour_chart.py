"""The small picture of an endpoint's last hour: a bar for each minute, calls accepted below and refused on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdc_bridge.endpoints.last_hour import MINUTES, LastHour

HEIGHT = 40
STEP = 4
WIDTH = MINUTES * STEP
_LEAST = 2
"""A bar that stands for anything is at least so high."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, in the picture's own units."""

    kind: str
    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class HourChart:
    """The picture, and what it says in words."""

    bars: Sequence[Bar]
    words: str
    most: int
    """Calls of the minute with most of them."""


def hour_chart(hour: LastHour) -> HourChart:
    """Draw an hour."""
    most = max(accepted + refused for accepted, refused in hour.attempts)
    bars = []
    for minute, (accepted, refused) in enumerate(hour.attempts):
        top = HEIGHT
        for kind, count in (("accepted", accepted), ("refused", refused)):
            if count:
                height = max(_LEAST, round((HEIGHT - _LEAST) * count / most))
                top -= height
                bars.append(Bar(kind, minute * STEP, max(0, top), height))
    accepted, refused = sum(hour.delivered), sum(hour.failed)
    words = f"Calls in the last hour: {accepted:,} accepted, {refused:,} refused."
    return HourChart(bars, words if accepted or refused else "Calls in the last hour: none.", most)
