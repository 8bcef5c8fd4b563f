"""Limits how often something is done in a second: a burst first, then at a fixed rate, in order.

Deliveries and the HTTP server share one processor; a burst is what a page with its files needs.
"""

from __future__ import annotations


class Pace:
    """Turns at a fixed rate."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._interval_seconds = 1 / per_second
        self._burst_seconds = burst / per_second
        self._next_at = 0.0

    def seconds_until_turn(self, now: float) -> float:
        """Take the next turn; return in how many seconds it comes."""
        self._next_at = max(self._next_at, now - self._burst_seconds) + self._interval_seconds
        return max(0.0, self._next_at - now)
