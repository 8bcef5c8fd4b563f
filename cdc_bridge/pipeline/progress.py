"""Up to which position everything is in the ledger.

Deliveries settle in any order; the position may move only past pages of which every change is recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cdc_bridge.capture.position import Position
from cdc_bridge.model import Seq


@dataclass(slots=True)
class _Page:
    position: Position
    outstanding: dict[Seq, datetime]


class Progress:
    """The pages handed over and not yet wholly settled."""

    def __init__(self, position: Position) -> None:
        self._reached = position
        self._pages: deque[_Page] = deque()
        self._page_of: dict[Seq, _Page] = {}

    @property
    def outstanding(self) -> int:
        """How many changes are handed over and not settled."""
        return len(self._page_of)

    @property
    def oldest(self) -> datetime | None:
        """When the oldest change was made that is handed over and not settled."""
        return min((at for page in self._pages for at in page.outstanding.values()), default=None)

    def hand_over(self, changes: Mapping[Seq, datetime], position: Position) -> None:
        """Note a page: the changes in it that are to be settled, and the position once they all are.

        Args:
            changes: by their numbers, when each was made.
            position: past the page.

        Raises:
            RuntimeError: a change was handed over before and is not settled: the position went back. Better to
                end and begin again from the ledger than to hold up its reservation for good.
        """
        if not self._page_of.keys().isdisjoint(changes):
            raise RuntimeError(f"handed over twice: {sorted(self._page_of.keys() & changes.keys())}")
        if not changes and self._pages:
            self._pages[-1].position = position  # Reading on while deliveries are held up must not pile up pages.
            return
        page = _Page(position, dict(changes))
        self._pages.append(page)
        self._page_of.update(dict.fromkeys(changes, page))

    def settle(self, seq: Seq) -> None:
        """Note that a change is settled; one that is not of these pages, as a retry, is let pass."""
        page = self._page_of.pop(seq, None)
        if page is not None:
            del page.outstanding[seq]

    def reached(self) -> Position:
        """Return the position up to which everything is settled."""
        while self._pages and not self._pages[0].outstanding:
            self._reached = self._pages.popleft().position
        return self._reached
