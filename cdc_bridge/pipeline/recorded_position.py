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
    shared: PageUnderWay | None = None
    """The page that it is a part of, with the changes of all endpoints that follow the daemon's position."""

    def recorded(self) -> None:
        """Note that one of its changes is recorded."""
        self.outstanding -= 1
        if self.shared is not None:
            self.shared.outstanding -= 1

    def leave_shared(self) -> None:
        """Have the daemon's position no longer wait for it."""
        if self.shared is not None:
            self.shared.outstanding -= self.outstanding
            self.shared = None


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

    def hand_over(self, position: Position, changes: int, shared: PageUnderWay | None = None) -> PageUnderWay:
        """Add a page.

        Args:
            position: The position once all its changes are recorded.
            changes: How many of them have to be recorded.
            shared: The page that it is a part of.
        """
        if not changes and self._pages:
            self._pages[-1].position = position  # Pages must not pile up while deliveries are held.
            return self._pages[-1]
        if self._pages and len(self._pages) >= self._merge_at:
            self._merge_recorded()
        page = PageUnderWay(position, changes, shared)
        if shared is not None:
            shared.outstanding += changes
        self._pages.append(page)
        return page

    def skip_to(self, position: Position) -> None:
        """Note that nothing was to be recorded up to a position."""
        if not self._pages:
            self._reached = position

    @property
    def first_unrecorded(self) -> PageUnderWay | None:
        """The first page that is not recorded as a whole."""
        return next((page for page in self._pages if page.outstanding), None)

    def has_part_of(self, shared: PageUnderWay) -> bool:
        """Return whether a part of a page is under way here."""
        return any(page.shared is shared and page.outstanding for page in self._pages)

    def leave_shared(self) -> None:
        """Have the daemon's position no longer wait for what is under way here."""
        for page in self._pages:
            page.leave_shared()

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
