from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.model import Xid
from cdc_bridge.pipeline.recorded_position import RecordedPosition


def position(number: int) -> Position:
    return Position(Snapshot(Xid(number), frozenset()))


def test_position_waits_for_every_change_of_a_page() -> None:
    recorded = RecordedPosition(position(0))
    page = recorded.hand_over(position(1), 2)
    page.outstanding -= 1
    assert recorded.reached() == position(0)
    page.outstanding -= 1
    assert recorded.reached() == position(1)


def test_later_page_recorded_first_does_not_move_the_position() -> None:
    recorded = RecordedPosition(position(0))
    earlier, later = recorded.hand_over(position(1), 1), recorded.hand_over(position(2), 1)
    later.outstanding = 0
    assert recorded.reached() == position(0)
    earlier.outstanding = 0
    assert recorded.reached() == position(2)


def test_empty_pages_behind_an_unrecorded_one_do_not_pile_up() -> None:
    recorded = RecordedPosition(position(0))
    page = recorded.hand_over(position(1), 1)
    for number in range(2, 1000):
        assert recorded.hand_over(position(number), 0) is page
    assert recorded.reached() == position(0)
    page.outstanding = 0
    assert recorded.reached() == position(999)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=120), st.integers(0, 1000))
def test_position_never_passes_an_unrecorded_change(sizes: list[int], seed: int) -> None:
    recorded = RecordedPosition(position(0))
    outstanding = []
    for number, size in enumerate(sizes, start=1):
        page = recorded.hand_over(position(number), size)
        outstanding += [(number, page)] * size
    Random(seed).shuffle(outstanding)
    while outstanding:
        _, page = outstanding.pop()
        page.outstanding -= 1
        reached = recorded.reached().snapshot.xmax
        assert all(reached < number for number, _ in outstanding)
    assert recorded.reached() == position(len(sizes))


def test_pages_that_are_recorded_do_not_pile_up_behind_one_that_is_not() -> None:
    recorded = RecordedPosition(position(0))
    first = recorded.hand_over(position(1), 1)
    for number in range(2, 5000):
        recorded.hand_over(position(number), 1).outstanding = 0
    assert recorded.reached() == position(0)
    assert recorded.pages < 100
    first.outstanding = 0
    assert recorded.reached() == position(4999)
