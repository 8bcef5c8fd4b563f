from __future__ import annotations

from datetime import UTC, datetime

from cdc_bridge.pipeline.lanes import Lanes
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.model import Change, Delivery, Operation, ReservationId, Seq


def delivery(seq: int, reservation: str = "r") -> Delivery:
    return Delivery(Change(Seq(seq), ReservationId(reservation), Operation.UPDATED, datetime(2026, 1, 1, tzinfo=UTC)))


def test_one_reservation_has_one_delivery_under_way() -> None:
    lanes = Lanes()
    lanes.add(delivery(1))
    lanes.add(delivery(2))
    assert lanes.take(10) == [delivery(1)]
    assert lanes.take(10) == []
    lanes.release(delivery(1))
    assert lanes.take(10) == [delivery(2)]


def test_different_reservations_do_not_wait_for_one_another() -> None:
    lanes = Lanes()
    for seq, reservation in enumerate("aabbc"):
        lanes.add(delivery(seq, reservation))
    assert [taken.change.reservation_id for taken in lanes.take(10)] == ["a", "b", "c"]


def test_queue_of_a_reservation_is_ordered_by_seq_whatever_came_first() -> None:
    lanes = Lanes()
    for seq in (5, 3, 4):
        lanes.add(delivery(seq))
    assert lanes.take(1) == [delivery(3)]


def test_queued_delivery_older_than_an_accepted_one_is_overtaken() -> None:
    lanes = Lanes()
    lanes.add(delivery(20))
    assert lanes.take(1) == [delivery(20)]
    lanes.add(delivery(10))
    lanes.add(delivery(30))
    assert lanes.overtaken_by(delivery(20)) == [delivery(10)]
    lanes.release(delivery(20))
    assert lanes.take(1) == [delivery(30)]


def test_delivery_accepted_while_a_page_was_read_overtakes_an_older_change_of_that_page() -> None:
    lanes = Lanes()
    lanes.add(delivery(20))
    lanes.take(1)
    with lanes.watch() as earlier:
        lanes.overtaken_by(delivery(20))
        lanes.release(delivery(20))
        with lanes.watch() as later:
            assert earlier.overtook(delivery(10))
            assert not earlier.overtook(delivery(30))
            assert not later.overtook(delivery(10))


def test_watch_that_ends_leaves_alone_another_that_saw_the_same() -> None:
    lanes = Lanes()
    with lanes.watch() as one:
        with lanes.watch():
            pass
        lanes.add(delivery(2))
        lanes.overtaken_by(lanes.take(1)[0])
        assert one.overtook(delivery(1))


def test_nothing_is_kept_of_a_lane_that_is_empty() -> None:
    lanes = Lanes()
    lanes.add(delivery(1))
    lanes.take(1)
    assert list(lanes.reservations()) == ["r"]
    lanes.release(delivery(1))
    assert list(lanes.reservations()) == []
    assert lanes.next_ready is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(1, 4))
def test_each_delivery_is_taken_once_and_in_order(arrivals: list[tuple[str, bool]], slots: int) -> None:
    lanes, under_way, taken = Lanes(), list[Delivery](), list[Delivery]()
    for seq, (reservation, finish_one) in enumerate(arrivals):
        lanes.add(delivery(seq, reservation))
        under_way += lanes.take(slots - len(under_way))
        if finish_one and under_way:
            taken.append(finished := under_way.pop(0))
            lanes.release(finished)
    while under_way or lanes.next_ready:
        under_way += lanes.take(slots - len(under_way))
        taken.append(finished := under_way.pop(0))
        lanes.release(finished)
    for name in "abc":
        mine = [d.change.seq for d in taken if d.change.reservation_id == name]
        assert mine == [seq for seq, (reservation, _) in enumerate(arrivals) if reservation == name]
