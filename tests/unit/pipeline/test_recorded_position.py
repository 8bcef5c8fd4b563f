from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cdc_bridge.pipeline.progress import Progress
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.model import Seq, Xid

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def position(number: int) -> Position:
    return Position(Snapshot(Xid(number), frozenset()))


def made(*seqs: int) -> dict[Seq, datetime]:
    """Changes, the first of them made at noon, each a second after the one before."""
    return {Seq(seq): NOON + timedelta(seconds=seq) for seq in seqs}


def test_oldest_is_the_oldest_change_of_all_pages_that_is_not_settled() -> None:
    progress = Progress(position(0))
    assert progress.oldest is None
    progress.hand_over(made(2, 3), position(1))
    progress.hand_over(made(1), position(2))
    assert progress.oldest == NOON + timedelta(seconds=1)
    progress.settle(Seq(1))
    assert progress.oldest == NOON + timedelta(seconds=2)
    progress.settle(Seq(2))
    progress.settle(Seq(3))
    assert progress.oldest is None


def test_position_waits_for_every_change_of_a_page() -> None:
    progress = Progress(position(0))
    progress.hand_over(made(1, 2), position(1))
    progress.settle(Seq(2))
    assert progress.reached() == position(0)
    progress.settle(Seq(1))
    assert progress.reached() == position(1)


def test_later_page_settled_first_does_not_move_the_position() -> None:
    progress = Progress(position(0))
    progress.hand_over(made(1), position(1))
    progress.hand_over(made(2), position(2))
    progress.settle(Seq(2))
    assert progress.reached() == position(0)
    progress.settle(Seq(1))
    assert progress.reached() == position(2)


def test_empty_pages_behind_an_unsettled_one_do_not_pile_up() -> None:
    progress = Progress(position(0))
    progress.hand_over(made(1), position(1))
    for number in range(2, 1000):
        progress.hand_over({}, position(number))
    assert progress.reached() == position(0)
    progress.settle(Seq(1))
    assert progress.reached() == position(999)


def test_settled_retry_of_an_earlier_page_changes_nothing() -> None:
    progress = Progress(position(0))
    progress.hand_over(made(5), position(1))
    progress.settle(Seq(3))
    assert progress.outstanding == 1
    assert progress.reached() == position(0)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=10), st.randoms())
def test_position_never_passes_an_unsettled_change(sizes: list[int], random: object) -> None:
    progress, page_of, seq = Progress(position(0)), dict[int, int](), 0
    for number, size in enumerate(sizes, start=1):
        seqs = [Seq(seq + index) for index in range(size)]
        seq += size
        page_of.update(dict.fromkeys(seqs, number))
        progress.hand_over(made(*seqs), position(number))
    outstanding = list(page_of)
    random.shuffle(outstanding)  # type: ignore[attr-defined]
    while outstanding:
        progress.settle(Seq(outstanding.pop()))
        reached = progress.reached().snapshot.xmax
        assert all(reached < page_of[left] for left in outstanding)
    assert progress.reached() == position(len(sizes))


def test_change_handed_over_twice_is_an_error_and_no_silence() -> None:
    progress = Progress(position(0))
    progress.hand_over(made(1, 2), position(1))
    with pytest.raises(RuntimeError, match=r"handed over twice: \[2\]"):
        progress.hand_over(made(2, 3), position(2))
