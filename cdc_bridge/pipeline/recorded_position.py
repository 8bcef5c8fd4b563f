"""The position up to which everything is in the delivery log.

Deliveries settle in any order. The position moves only past pages of which every change is recorded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cdc_bridge.capture.position import Position


@dataclass(slots=True, eq=False)
class PageUnderWay:
    """A page that was handed over and is not recorded as a whole."""

    position: Position
    """The position once it is recorded."""
    outstanding: int
    """How many of its changes are not recorded."""


class RecordedPosition:
    """Tracks the pages under way."""

    def __init__(self, position: Position) -> None:
        self._reached = position
        self._pages: deque[PageUnderWay] = deque()

    def hand_over(self, position: Position, changes: int) -> PageUnderWay:
        """Add a page.

        Args:
            position: The position once all its changes are recorded.
            changes: How many of them have to be recorded.
        """
        if not changes and self._pages:
            self._pages[-1].position = position  # Pages must not pile up while deliveries are held.
            return self._pages[-1]
        page = PageUnderWay(position, changes)
        self._pages.append(page)
        return page

    def reached(self) -> Position:
        """Return the position up to which everything is recorded."""
        while self._pages and not self._pages[0].outstanding:
            self._reached = self._pages.popleft().position
        return self._reached
