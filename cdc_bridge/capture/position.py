"""A position in the change log, as arithmetic on PostgreSQL's snapshots.

Why a snapshot and not a number: sequence numbers are drawn before commit and transactions commit in
another order, so "all above the highest seen" skips whatever commits late; and waiting for the oldest
running transaction stalls behind any long one. A snapshot says of every transaction whether it had
committed, so "visible now and not visible then" is exact: each change is handed over once, as soon as
it commits.

A position is such a snapshot, *everything visible in it has been handed over*, and, where a page
ended inside a transaction, the place in it. As there is one place only, a page first goes on with the transaction that
the last one ended in, and then takes the others by ``(xid, seq)``. Where it is cut off at another transaction X, it
has handed over all that its own snapshot sees below X, and of X and above what had been before, plus X's changes
up to the place. If these are all that X has, X is one more transaction that its snapshot sees, and there is no place:
endpoints whose positions have none can catch up together, wherever their pages ended.

Of transactions that ended without a change, a position counts those below the highest change read as seen, and
none above. After a crash PostgreSQL draws the ids again that are above the last one flushed to WAL, where only
transactions stood that were rolled back or wrote nothing. A position that outlives the crash in the daemon's memory
would take the new transaction for the old one and skip it. The commit of a change that was read has been flushed, so
no id up to it comes again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from cdc_bridge.model import Seq, Xid


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions had committed at an instant (``pg_snapshot``).

    Those from ``xmax`` on had not begun; of those below, all had ended but ``in_progress``. (Aborted ones
    count as ended; they leave no rows.)
    """

    xmax: Xid
    in_progress: frozenset[Xid]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Parse the text form of ``pg_snapshot``, ``xmin:xmax:xip,xip,...``.

        Raises:
            ValueError: The text has another form.
        """
        _, xmax, in_progress = text.split(":")
        return cls(Xid(int(xmax)), frozenset(Xid(int(xid)) for xid in in_progress.split(",") if xid))

    def __str__(self) -> str:
        """Return the text form of ``pg_snapshot``."""
        running = sorted(self.in_progress)
        return f"{running[0] if running else self.xmax}:{self.xmax}:{','.join(map(str, running))}"

    def sees(self, xid: Xid) -> bool:
        """Return whether a transaction had ended."""
        return xid < self.xmax and xid not in self.in_progress

    def up_to(self, highest: Xid | None) -> Snapshot:
        """Return it without what ended above the highest transaction known to be flushed; see the module's note."""
        xmax = min(self.xmax, Xid((highest or 0) + 1))
        return Snapshot(xmax, frozenset(xid for xid in self.in_progress if xid < xmax))


@dataclass(frozen=True, slots=True)
class Place:
    """The last change handed over of a transaction that is handed over in part."""

    xid: Xid
    seq: Seq
    one_statement_at: datetime | None = field(default=None, compare=False)
    """The time of the one statement that made all its changes so far; ``None``: several did, or it is not known."""


@dataclass(frozen=True, slots=True)
class Position:
    """What has been handed over: all that ``snapshot`` sees, and its transaction's changes up to ``place``."""

    snapshot: Snapshot
    place: Place | None = None

    def has(self, xid: Xid, seq: Seq) -> bool:
        """Return whether a change was handed over."""
        place = self.place
        return self.snapshot.sees(xid) or (place is not None and place.xid == xid and seq <= place.seq)

    def with_all_of(self, other: Position) -> Position:
        """Return it with what another one has. Only one of them may end inside a transaction."""
        ours, theirs = self.snapshot, other.snapshot
        running = (xid for xid in ours.in_progress | theirs.in_progress if not (ours.sees(xid) or theirs.sees(xid)))
        both = Snapshot(max(ours.xmax, theirs.xmax), frozenset(running))
        place = self.place or other.place
        return Position(both, None if place is None or both.sees(place.xid) else place)

    def after_page(
        self, read_in: Snapshot, cut_off_at: Place | None, highest: Xid | None, *, finished: bool = False
    ) -> Position:
        """Return the position once a page is handed over.

        Args:
            read_in: The snapshot of the statement that read the page.
            cut_off_at: The page's last change if there may be more behind it, else ``None``.
            highest: The highest transaction with a change in the page; ``None``: the page is empty.
            finished: Whether the transaction that the page is cut off at has no change behind it.
        """
        after = self._after_page(read_in, cut_off_at, highest)
        return Position(_with_place_finished(after)) if finished else after

    def _after_page(self, read_in: Snapshot, cut_off_at: Place | None, highest: Xid | None) -> Position:
        before = _with_place_finished(self)
        if cut_off_at is None:
            return Position(read_in.up_to(Xid(max(before.xmax - 1, highest or 0))))
        if self.place is not None and self.place.xid == cut_off_at.xid:
            return Position(self.snapshot, cut_off_at)  # The page got no further than to this transaction.
        border = cut_off_at.xid
        now_below = {xid for xid in read_in.in_progress if xid < border}
        still_above = {xid for xid in before.in_progress if xid >= border}
        # Between the old xmax and the border, what the reading snapshot saw running is in now_below.
        xmax = max(before.xmax, border)
        return Position(Snapshot(xmax, frozenset(now_below | still_above)), cut_off_at)


def lowest(positions: Iterable[Position]) -> Position:
    """Return a position that has nothing that one of some positions, at least one, does not have."""
    return Position(Snapshot(min(_first_unseen(each.snapshot) for each in positions), frozenset()))


def _first_unseen(snapshot: Snapshot) -> Xid:
    return min(snapshot.in_progress, default=snapshot.xmax)


def _with_place_finished(position: Position) -> Snapshot:
    place, snapshot = position.place, position.snapshot
    if place is None:
        return snapshot
    # It was running in the snapshot, or is the very first transaction that had not begun then.
    return Snapshot(max(snapshot.xmax, Xid(place.xid + 1)), snapshot.in_progress - {place.xid})
