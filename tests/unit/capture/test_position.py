"""The arithmetic of positions, against a small model of PostgreSQL's transactions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_bridge.capture.position import Place, Position, Snapshot, lowest
from cdc_bridge.model import Seq, Xid
from tests.support.length import chosen
from tests.unit.capture.model import ModelDatabase, covers

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


def _run(database: ModelDatabase, steps: list[tuple[object, ...]], *readers: Position) -> list[Position]:
    """Take steps, in which readers read in turn; return their positions."""
    positions, turn = list(readers), 0
    for step in steps:
        match step:
            case ("begin",):
                database.begin()
            case ("write", int(which), int(rows)):
                database.write(which, rows)
            case ("end", int(which), bool(commit)):
                database.end(which, commit=commit)
            case ("read", int(limit)):
                positions[turn] = database.read(positions[turn], limit)[1]
                turn = (turn + limit) % len(positions)
    return positions


_START = Position(Snapshot(Xid(1), frozenset()))


def _everything(database: ModelDatabase) -> list[tuple[Xid, Seq]]:
    """Return all that may be asked of a position: also what is not committed, and transactions that have not begun."""
    running = [(Xid(xid), Seq(seq)) for xid, rows in database.running.items() for seq in rows]
    unborn = [(Xid(database.next_xid + more), Seq(database.next_seq + more)) for more in range(3)]
    return [*database.visible(), *running, *unborn]


@given(_steps)
@settings(max_examples=chosen(100, 2000), deadline=None)
def test_position_has_what_was_handed_over_up_to_it_and_nothing_else(steps: list[tuple[object, ...]]) -> None:
    database = ModelDatabase()
    (position,) = _run(database, steps, _START)
    for change in _everything(database):
        assert position.has(*change) == covers(position, *change)
    rest, _ = database.read(position, limit=10_000)
    assert rest == [change for change in rest if not position.has(*change)]
    assert {change for change in database.visible() if not position.has(*change)} == set(rest)


@given(_steps)
@settings(max_examples=chosen(150, 4000), deadline=None)
def test_position_with_all_of_another_one_has_what_either_has(steps: list[tuple[object, ...]]) -> None:
    database = ModelDatabase()
    one, other = _run(database, steps, _START, _START)
    if one.place is not None and other.place is not None:
        other = database.read(other, limit=10_000)[1]  # Only one of them may end inside a transaction.
    for both in (one.with_all_of(other), other.with_all_of(one)):
        for change in _everything(database):
            assert both.has(*change) == (one.has(*change) or other.has(*change))
        rest, after = database.read(both, limit=10_000)
        assert set(rest) == {change for change in database.visible() if not (one.has(*change) or other.has(*change))}
        assert all(after.has(*change) for change in database.visible())
        assert Position(Snapshot.parse(str(both.snapshot)), both.place) == both


@given(_steps)
@settings(max_examples=chosen(100, 2000), deadline=None)
def test_pages_read_behind_what_somebody_has_beside_them_bring_each_change_once(
    steps: list[tuple[object, ...]],
) -> None:
    database = ModelDatabase()
    one, has = _run(database, steps, _START, _START)
    has = database.read(has, limit=10_000)[1]
    handed_over = [change for change in database.visible() if has.has(*change) or one.has(*change)]
    database.begin()
    database.write(0, 3)
    database.end(0, commit=True)
    at_end = False
    while not at_end:
        page, one = database.read(one, limit=2)
        at_end = len(page) < 2
        handed_over += [change for change in page if not has.has(*change)]
        assert all(has.with_all_of(one).has(*change) for change in handed_over)
    assert sorted(handed_over) == database.visible()


@given(_steps, st.integers(1, 4))
@settings(max_examples=chosen(100, 2000), deadline=None)
def test_lowest_position_has_nothing_that_one_of_them_lacks(steps: list[tuple[object, ...]], readers: int) -> None:
    database = ModelDatabase()
    positions = _run(database, steps, *[_START] * readers)
    below = lowest(positions)
    assert below.place is None
    for change in _everything(database):
        if below.has(*change):
            assert all(position.has(*change) for position in positions)
    rest, _ = database.read(below, limit=10_000)
    lacking = {change for change in database.visible() if not all(position.has(*change) for position in positions)}
    assert lacking <= set(rest)


def test_place_is_kept_until_the_transaction_is_seen() -> None:
    inside = Position(Snapshot(Xid(5), frozenset({Xid(3)})), Place(Xid(3), Seq(7)))
    before, after = Position(Snapshot(Xid(3), frozenset())), Position(Snapshot(Xid(9), frozenset({Xid(8)})))
    assert inside.with_all_of(before) == before.with_all_of(inside) == inside
    assert inside.with_all_of(after) == after.with_all_of(inside) == after
