"""The arithmetic of positions, against a small model of PostgreSQL's transactions."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.model import Seq, Xid
from tests.support.length import chosen


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
        page = sorted(unread, key=lambda change: (change[0] != in_part, change))[:limit]
        cut_off_at = Place(*page[-1]) if len(page) == limit else None
        highest = max((xid for xid, _ in page), default=None)
        return page, position.after_page(self.snapshot(), cut_off_at, highest)


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("begin")),
        st.tuples(st.just("write"), st.integers(0, 3), st.integers(1, 3)),
        st.tuples(st.just("end"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("read"), st.integers(1, 3)),
        st.tuples(st.just("crash")),
    ),
    min_size=20,
    max_size=60,
)


@given(_steps)
@settings(max_examples=chosen(400, 4000), deadline=None)
def test_every_committed_change_is_read_exactly_once_whatever_the_order_of_commits_and_whatever_crashes(
    steps: list[tuple[object, ...]],
) -> None:
    database, position = ModelDatabase(), Position(Snapshot(Xid(1), frozenset()))
    handed_over: list[tuple[Xid, Seq]] = []
    for step in steps:
        match step:
            case ("begin",):
                database.begin()
            case ("write", int(which), int(rows)):
                database.write(which, rows)
            case ("end", int(which), bool(commit)):
                database.end(which, commit=commit)
            case ("crash",):
                database.crash()
            case ("read", int(limit)):
                page, position = database.read(position, limit)
                position = Position(Snapshot.parse(str(position.snapshot)), position.place)
                handed_over += page
                assert all(covers(position, *change) for change in handed_over)
                assert handed_over == [change for change in handed_over if change in database.visible()]
    page, _ = database.read(position, limit=10_000)
    assert sorted(handed_over + page) == database.visible()


def test_transaction_that_commits_late_does_not_make_one_read_in_part_begin_anew() -> None:
    in_part = Position(Snapshot(Xid(4), frozenset({Xid(3)})), Place(Xid(4), Seq(2)))
    after = in_part.after_page(Snapshot(Xid(5), frozenset()), Place(Xid(3), Seq(1)), Xid(4))
    assert covers(after, Xid(4), Seq(2))
    assert not covers(after, Xid(3), Seq(5))


@given(_steps)
@settings(max_examples=200, deadline=None)
def test_reading_can_begin_again_from_any_earlier_position(steps: list[tuple[object, ...]]) -> None:
    database, positions = ModelDatabase(), [Position(Snapshot(Xid(1), frozenset()))]
    for step in steps:
        match step:
            case ("begin",):
                database.begin()
            case ("write", int(which), int(rows)):
                database.write(which, rows)
            case ("end", int(which), bool(commit)):
                database.end(which, commit=commit)
            case ("crash",):
                database.crash()
            case ("read", int(limit)):
                positions.append(database.read(positions[-1], limit)[1])
    for position in positions:
        covered = [change for change in database.visible() if covers(position, *change)]
        rest, _ = database.read(position, limit=10_000)
        assert sorted(covered + rest) == database.visible()


@pytest.mark.parametrize("text", ["10:10:", "10:20:10,14,19", "1:1:"])
def test_text_form_is_that_of_postgresql(text: str) -> None:
    assert str(Snapshot.parse(text)) == text


def test_snapshot_in_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="unpack"):
        Snapshot.parse("10:20")


def test_page_cut_off_inside_a_late_transaction_keeps_what_was_read_above_it() -> None:
    before = Position(Snapshot(Xid(50), frozenset({Xid(10), Xid(30)})))
    after = before.after_page(Snapshot(Xid(90), frozenset({Xid(30), Xid(70)})), Place(Xid(10), Seq(5)), Xid(10))
    assert after == Position(Snapshot(Xid(50), frozenset({Xid(10), Xid(30)})), Place(Xid(10), Seq(5)))
