"""The position of all endpoints that follow the daemon: one row of the database moves for all of them.

It passes a page once every change of it is recorded that an endpoint that follows wanted. An endpoint whose deliveries
take long, or that stops, must not hold the others: it leaves, and its own position is written, before this one goes on.
"""

from __future__ import annotations

from collections.abc import Iterable

from cdc_bridge.capture.position import Position
from cdc_bridge.pipeline.recorded_position import PageUnderWay, RecordedPosition


class SharedPosition:
    """Tracks the pages that the daemon's reader has handed over."""

    def __init__(self) -> None:
        self._pages: RecordedPosition | None = None
        self._written: Position | None = None

    def start(self, position: Position) -> None:
        """Begin at a position; nobody follows yet."""
        self._pages = RecordedPosition(position)

    def hand_over(self, position: Position, *, held: bool) -> PageUnderWay:
        """Add a page.

        Args:
            position: The position after it.
            held: Whether it is wanted: then it is not passed before ``recorded()`` of what this returns was called,
                when all of its parts are handed over.
        """
        return self._started.hand_over(position, int(held))

    def hold(self, position: Position) -> PageUnderWay:
        """Let nothing that is handed over from now on be passed until ``recorded()`` of what this returns is called.

        Args:
            position: What is handed over now.
        """
        return self._started.hand_over(position, 1)

    @property
    def first_unrecorded(self) -> PageUnderWay | None:
        """The page that keeps it from going on."""
        return None if self._pages is None else self._pages.first_unrecorded

    def next(self, recorded: Iterable[PageUnderWay] = ()) -> Position | None:
        """Return the position once one more change of each of some pages is recorded; ``None``: as it is written."""
        if self._pages is None:
            return None
        position = self._pages.once_recorded(recorded)
        return None if position == self._written else position

    def written(self, position: Position) -> None:
        """Note that a position is in the database."""
        self._written = position
        self._started.reached()

    @property
    def _started(self) -> RecordedPosition:
        if self._pages is None:
            raise RuntimeError("nothing was handed over yet")
        return self._pages
