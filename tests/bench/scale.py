"""How much is measured: all of it, or enough to see whether a change went the right way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

EndpointPart = Literal["running", "draining", "stalled", "takeover"]
ENDPOINT_PARTS: tuple[EndpointPart, ...] = get_args(EndpointPart)


@dataclass(frozen=True)
class Scale:
    """So many rounds, so long, so much."""

    rounds: int
    writing_rounds: int
    writers: tuple[int, ...]
    writing_seconds: int
    statement_rounds: int
    statements: int
    backlog: int
    idle_changes: int
    paced_seconds: int
    drained: int
    slow_drained: int
    large_backlog: int
    dead_rows: int
    logged: int
    """Changes and deliveries that the dashboard's pages are loaded with."""
    drained_by_ten: int
    idle_seconds: int
    changes_a_day: int
    prunings_a_day: int
    endpoint_rounds: int
    endpoint_drained: int
    endpoint_seconds: int
    """Longest time for a series of changes or a drain with many endpoints; what was done until then counts."""
    endpoints: tuple[int, ...] = (1, 100, 1_000, 10_000)
    endpoint_parts: tuple[EndpointPart, ...] = ENDPOINT_PARTS


FULL = Scale(
    rounds=3,
    writing_rounds=4,
    writers=(1, 4, 16, 64),
    writing_seconds=2,
    statement_rounds=4,
    statements=1000,
    backlog=40_000,
    idle_changes=300,
    paced_seconds=10,
    drained=50_000,
    slow_drained=10_000,
    large_backlog=1_000_000,
    dead_rows=1_000_000,
    logged=1_000_000,
    drained_by_ten=2500,
    idle_seconds=60,
    changes_a_day=5000,
    prunings_a_day=4,
    endpoint_rounds=2,
    endpoint_drained=50_000,
    endpoint_seconds=120,
)

QUICK = Scale(
    rounds=1,
    writing_rounds=1,
    writers=(1, 16),
    writing_seconds=1,
    statement_rounds=1,
    statements=250,
    backlog=20_000,
    idle_changes=50,
    paced_seconds=3,
    drained=10_000,
    slow_drained=2000,
    large_backlog=50_000,
    dead_rows=50_000,
    logged=50_000,
    drained_by_ten=500,
    idle_seconds=20,
    changes_a_day=500,
    prunings_a_day=1,
    endpoint_rounds=1,
    endpoint_drained=5000,
    endpoint_seconds=30,
)
