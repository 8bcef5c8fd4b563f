"""A small model of PostgreSQL's transactions, and of a change log that they write."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.model import Seq, Xid


def covers(position: Position, xid: Xid, seq: Seq) -> bool:
    """Return whether a change has been handed over, as the statement that reads a page decides it."""
    if position.place is not None and xid == position.place.xid:
        return seq <= position.place.seq
    return xid < position.snapshot.xmax and xid not in position.snapshot.in_progress


@dataclass
class ModelDatabase:
    """Transactions that write, commit or abort, and a change log read as ``read_page`` reads it."""

    next_xid: int = 3
    next_seq: int = 1
    running: dict[int, list[int]] = field(default_factory=dict)
    committed: dict[int, list[int]] = field(default_factory=dict)

    def begin(self) -> None:
        self.running[self.next_xid] = []
        self.next_xid += 1

    def write(self, which: int, rows: int) -> None:
        if self.running:
            xid = sorted(self.running)[which % len(self.running)]
            self.running[xid].extend(range(self.next_seq, self.next_seq + rows))
            self.next_seq += rows

    def end(self, which: int, *, commit: bool) -> None:
        if self.running:
            rows = self.running.pop(xid := sorted(self.running)[which % len(self.running)])
            if commit:
                self.committed[xid] = rows

    def crash(self) -> None:
        """Lose what runs; ids above the last one whose commit wrote something, and so was flushed, come again."""
        self.running.clear()
        self.next_xid = max((xid for xid, rows in self.committed.items() if rows), default=2) + 1

    def snapshot(self) -> Snapshot:
        return Snapshot(Xid(self.next_xid), frozenset(map(Xid, self.running)))

    def visible(self) -> list[tuple[Xid, Seq]]:
        return sorted((Xid(xid), Seq(seq)) for xid, rows in self.committed.items() for seq in rows)

    def read(self, position: Position, limit: int) -> tuple[list[tuple[Xid, Seq]], Position]:
        unread = [change for change in self.visible() if not covers(position, *change)]
        in_part = position.place and position.place.xid
        unread.sort(key=lambda change: (change[0] != in_part, change))
        page, behind = unread[:limit], unread[limit:]
        cut_off_at = Place(*page[-1]) if behind else None
        finished = bool(behind) and behind[0][0] != page[-1][0]
        highest = max((xid for xid, _ in page), default=None)
        return page, position.after_page(self.snapshot(), cut_off_at, highest, finished=finished)
