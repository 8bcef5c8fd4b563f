"""The measures of many endpoints, and what they are to reach by the number of endpoints."""

from __future__ import annotations

from tests.bench.figures import Goal

LATENCY = "commit to request, idle, p50"
LATENCY_P99 = "commit to request, idle, p99"
DRAINING = "draining changes spread evenly"
STATEMENTS = "idle: statements"
PROCESSOR = "idle: part of a processor"
MEMORY_IDLE = "memory of the daemon, idle"
MEMORY = "memory of the daemon, all have had a delivery"
LEASED = "all endpoints leased after a start"
STALLED = "the other 99 % while 1 % are stalled"
TAKEOVER = "one of two daemons killed, all endpoints leased by the other"
COST = "processor time of a change, daemon and PostgreSQL"

RAW_COST = "processor time of a change: "
"""Name of the same among the raw figures, with the number of endpoints behind it."""

_AT_LEAST: dict[str, dict[int, float]] = {
    DRAINING: {100: 0.9, 1_000: 0.8, 10_000: 0.7},
    STALLED: {100: 0.95, 1_000: 0.95, 10_000: 0.95},
}
"""Of the rate beside it."""

_AT_MOST: dict[str, dict[int, float]] = {
    LATENCY: {100: 1.1, 1_000: 1.2, 10_000: 1.3},
    STATEMENTS: {1: 20, 100: 20, 1_000: 25, 10_000: 30},
    PROCESSOR: {1: 0.1, 100: 0.1, 1_000: 0.3, 10_000: 1},
    MEMORY_IDLE: {1: 80, 100: 85, 1_000: 100, 10_000: 200},
    MEMORY: {1: 80, 100: 100, 1_000: 150, 10_000: 300},
    LEASED: {1: 1, 100: 1, 1_000: 2, 10_000: 10},
    TAKEOVER: {1: 15, 100: 15, 1_000: 15, 10_000: 20},
}
"""Of the time of one endpoint, for the first; else the figure itself."""


def goal(measure: str, endpoints: int) -> Goal | None:
    """Return what is to be reached with so many endpoints; ``None``: nothing is set for that number."""
    if (bound := _AT_LEAST.get(measure, {}).get(endpoints)) is not None:
        return Goal("at least", bound)
    if (bound := _AT_MOST.get(measure, {}).get(endpoints)) is not None:
        return Goal("at most", bound)
    return None
