"""The position up to which everything is in the delivery log.

Deliveries settle in any order. The position moves only past pages of which every change is recorded.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from cdc_bridge.capture.position import Position

_MERGE_FROM = 32
"""Fewer pages than this are not worth merging."""


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
        self._merge_at = _MERGE_FROM

    @property
    def pages(self) -> int:
        """How many pages are under way."""
        return len(self._pages)

    def hand_over(self, position: Position, changes: int) -> PageUnderWay:
        """Add a page.

        Args:
            position: The position once all its changes are recorded.
            changes: How many of them have to be recorded.
        """
        if not changes and self._pages:
            self._pages[-1].position = position  # Pages must not pile up while deliveries are held.
            return self._pages[-1]
        if self._pages and len(self._pages) >= self._merge_at:
            self._merge_recorded()
        page = PageUnderWay(position, changes)
        self._pages.append(page)
        return page

    def _merge_recorded(self) -> None:
        """Merge each recorded page into the one before: one delivery may hold up the first page for long."""
        kept = deque([self._pages[0]])
        for page in list(self._pages)[1:]:
            if page.outstanding:
                kept.append(page)
            else:
                kept[-1].position = page.position
        self._pages = kept
        self._merge_at = max(_MERGE_FROM, 2 * len(kept))

    def once_recorded(self, pages: Iterable[PageUnderWay]) -> Position:
        """Return the position up to which everything is recorded once one more change of each of the pages is."""
        more = Counter(pages)
        position = self._reached
        for page in self._pages:
            if page.outstanding > more[page]:
                break
            position = page.position
        return position

    def reached(self) -> Position:
        """Return the position up to which everything is recorded."""
        while self._pages and not self._pages[0].outstanding:
            self._reached = self._pages.popleft().position
        return self._reached
