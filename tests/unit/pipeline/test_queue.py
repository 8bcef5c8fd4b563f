"""The queue's rules: order per reservation, supersession, holding, the window and what is to be recorded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.capture.change_log import LoggedChange, Page
from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.model import Change, DeliveryState, Events, Operation, ReservationId, Seq, Xid
from cdc_bridge.pipeline.in_flight import DueRetry, InFlight
from cdc_bridge.pipeline.queue import DeliveredMeanwhile, DeliveryQueue

DELIVERED = DeliveryState.DELIVERED
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def position(number: int) -> Position:
    return Position(Snapshot(Xid(number), frozenset()))


def change(seq: int, reservation: str = "r") -> Change:
    """A change, made as many seconds after noon as its number says."""
    return Change(Seq(seq), ReservationId(reservation), Operation.UPDATED, NOON + timedelta(seconds=seq))


class Queue(DeliveryQueue):
    """A queue, with short words for what tests do with it."""

    def __init__(
        self, *, window: int = 1000, page_size: int = 100, latest_only: bool = False, events: Events = Events.BOTH
    ) -> None:
        super().__init__(position(0), window=window, page_size=page_size, latest_only=latest_only, events=events)
        self.pages = 0

    def add(self, *changes: Change, overtaken: bool = False, at_end: bool = False) -> None:
        with self.reading() as meanwhile:
            self.add_read(meanwhile, *changes, overtaken=overtaken, at_end=at_end)

    def add_read(
        self, meanwhile: DeliveredMeanwhile, *changes: Change, overtaken: bool = False, at_end: bool = False
    ) -> None:
        self.pages += 1
        logged = tuple(LoggedChange(Xid(self.pages), one, recorded=False, overtaken=overtaken) for one in changes)
        self.hand_over(Page(logged, position(self.pages), at_end), meanwhile)

    def retry(self, *due: Change, overtaken: bool = False) -> None:
        with self.reading() as meanwhile:
            self.hand_over_due([DueRetry(one, 1, 1, overtaken) for one in due], meanwhile)

    def taken(self, limit: int = 100) -> list[int]:
        return [delivery.change.seq for delivery in self.take(limit)]

    def take_one(self) -> InFlight:
        (delivery,) = self.take(1)
        return delivery

    def settle_as(self, delivery: InFlight, state: DeliveryState) -> None:
        delivery.state = state
        self.settle(delivery)

    def record(self, limit: int = 1000) -> list[tuple[int, str]]:
        """Record what is settled; return it."""
        batch = self.next_batch(limit)
        self.recorded(batch)
        return [(delivery.change.seq, delivery.state.value) for delivery in batch]

    @property
    def reached(self) -> int:
        """The number of the page up to which all is recorded."""
        return self.position_with(()).snapshot.xmax


def test_one_reservation_has_one_delivery_under_way_until_it_is_recorded() -> None:
    queue = Queue()
    queue.add(change(1), change(2))
    first = queue.take_one()
    assert queue.taken() == []
    queue.settle_as(first, DELIVERED)
    assert queue.taken() == []
    assert queue.record() == [(1, "delivered")]
    assert queue.taken() == [2]


def test_different_reservations_do_not_wait_for_one_another() -> None:
    queue = Queue()
    queue.add(*(change(seq, reservation) for seq, reservation in enumerate("aabbc")))
    assert queue.taken() == [0, 2, 4]


def test_queue_of_a_reservation_is_ordered_by_seq_whatever_came_first() -> None:
    queue = Queue()
    for seq in (5, 3, 4):
        queue.add(change(seq))
    assert queue.taken() == [3]


def test_no_more_are_taken_than_asked_for() -> None:
    queue = Queue()
    queue.add(change(1, "a"), change(2, "b"))
    assert queue.take(0) == []
    assert queue.taken(1) == [1]
    assert queue.sending == 1


def test_older_change_that_arrives_while_a_newer_one_is_sent_is_superseded_once_that_is_delivered() -> None:
    queue = Queue()
    queue.add(change(20))
    newer = queue.take_one()
    queue.add(change(10), change(30))
    queue.settle_as(newer, DELIVERED)
    assert queue.record() == [(20, "delivered"), (10, "superseded")]
    assert queue.taken() == [30]


def test_older_change_is_sent_if_the_newer_one_failed() -> None:
    queue = Queue()
    queue.add(change(20))
    newer = queue.take_one()
    queue.add(change(10))
    queue.settle_as(newer, DeliveryState.RETRYING)
    assert queue.record() == [(20, "retrying")]
    assert queue.taken() == [10]


def test_older_change_that_arrives_when_a_newer_one_is_delivered_and_not_recorded_is_superseded() -> None:
    queue = Queue()
    queue.add(change(20))
    queue.settle_as(queue.take_one(), DELIVERED)
    queue.add(change(10))
    assert queue.record() == [(20, "delivered"), (10, "superseded")]
    assert not queue.has_ready


def test_change_that_the_delivery_log_knows_to_be_overtaken_is_superseded() -> None:
    queue = Queue()
    queue.add(change(1), overtaken=True)
    queue.retry(change(2, "b"), overtaken=True)
    assert queue.record() == [(1, "superseded"), (2, "superseded")]
    assert queue.reached == 1


def test_change_delivered_during_a_read_supersedes_an_older_one_of_that_read() -> None:
    queue = Queue()
    queue.add(change(20))
    with queue.reading() as earlier:
        queue.settle_as(queue.take_one(), DELIVERED)
        queue.record()
        with queue.reading() as later:
            queue.add_read(earlier, change(10), change(30))
            assert later.supersedes(change(10)) is False
    assert queue.record() == [(10, "superseded")]
    assert queue.taken() == [30]


def test_read_that_ends_leaves_another_one_alone_that_saw_the_same() -> None:
    queue = Queue()
    with queue.reading() as one:
        with queue.reading():
            pass
        queue.add(change(2))
        queue.settle_as(queue.take_one(), DELIVERED)
        queue.record()
        assert one.supersedes(change(1))


def test_nothing_is_kept_of_a_delivery_that_is_recorded() -> None:
    queue = Queue()
    queue.add(change(1))
    assert queue.occupied() == {"r"}
    queue.settle_as(queue.take_one(), DeliveryState.SKIPPED)
    queue.record()
    assert (queue.occupied(), queue.has_ready, queue.sending) == (set(), False, 0)


def test_newest_change_supersedes_the_queued_ones_where_the_latest_is_wanted() -> None:
    queue = Queue(latest_only=True)
    queue.add(change(1), change(2), change(3, "other"))
    queue.add(change(4))
    assert queue.record() == [(1, "superseded"), (2, "superseded")]
    assert queue.taken() == [4, 3], "the reservation keeps its turn"


def test_position_does_not_pass_the_newest_change_before_it_is_recorded() -> None:
    queue = Queue(latest_only=True)
    queue.add(change(1))
    queue.add(change(2))
    queue.record()
    assert queue.reached == 1
    queue.settle_as(queue.take_one(), DELIVERED)
    queue.record()
    assert queue.reached == 2


def test_request_under_way_is_not_superseded_by_the_newest_change() -> None:
    queue = Queue(latest_only=True)
    queue.add(change(1))
    under_way = queue.take_one()
    queue.add(change(2))
    queue.add(change(3))
    assert queue.record() == [(2, "superseded")]
    queue.settle_as(under_way, DELIVERED)
    assert queue.record() == [(1, "delivered")]
    assert queue.taken() == [3]


def test_older_change_read_late_is_superseded_by_the_newest_one_where_the_latest_is_wanted() -> None:
    queue = Queue(latest_only=True)
    queue.add(change(20))
    newest = queue.take_one()
    queue.add(change(10))
    assert queue.record() == [(10, "superseded")]
    queue.settle_as(newest, DeliveryState.RETRYING)
    assert queue.record() == [(20, "retrying")]


@pytest.mark.parametrize("arrives_first", [True, False])
def test_newest_change_takes_the_place_of_a_held_one(arrives_first: bool) -> None:  # noqa: FBT001 - parametrized
    queue = Queue(latest_only=True)
    queue.add(change(1), change(5, "other"))
    failing = queue.take(1)[0]
    failing.suspected = True
    if arrives_first:
        queue.add(change(2))
        queue.hold(failing)
    else:
        queue.hold(failing)
        queue.add(change(2))
    assert queue.record() == [(1, "superseded")]
    assert queue.held == 1
    probe = queue.take_probe(ready_first=False)
    assert probe is not None
    assert (probe.change.seq, probe.suspected, probe.last_attempt) == (2, True, None)
    assert queue.held == 0


def test_held_delivery_holds_its_reservation_and_no_other() -> None:
    queue = Queue()
    queue.add(change(1), change(2), change(3, "other"))
    queue.hold(queue.take(1)[0])
    assert queue.taken() == [3]
    (held,) = queue.release_held()
    queue.queue_again(held)
    assert queue.taken() == [1]


def test_held_deliveries_are_probed_by_turns() -> None:
    queue, probed = Queue(), []
    queue.add(*(change(seq, reservation) for seq, reservation in enumerate("abc")))
    for delivery in queue.take(3):
        queue.hold(delivery)
    for _ in range(5):
        probe = queue.take_probe(ready_first=True)
        assert probe is not None
        probed.append(probe.change.seq)
        queue.hold(probe)
    assert probed == [0, 1, 2, 0, 1]


def test_probe_prefers_one_that_never_failed_if_told_so() -> None:
    queue = Queue()
    queue.add(change(1, "a"), change(2, "b"))
    queue.hold(queue.take(1)[0])
    probe = queue.take_probe(ready_first=True)
    assert probe is not None
    assert probe.change.seq == 2
    assert queue.take_probe(ready_first=True) is not None
    assert queue.take_probe(ready_first=True) is None


def test_window_counts_what_is_not_recorded() -> None:
    queue = Queue(window=4, page_size=2)
    queue.add(change(1, "a"), change(2, "b"))
    assert queue.has_room
    queue.add(change(3, "c"))
    assert not queue.has_room
    queue.settle_as(queue.take_one(), DELIVERED)
    assert not queue.has_room
    queue.record()
    assert queue.has_room


def test_window_counts_retries_as_well() -> None:
    queue = Queue(window=4, page_size=2)
    queue.retry(change(1, "a"), change(2, "b"))
    assert queue.has_room
    queue.add(change(3, "c"))
    assert not queue.has_room


async def test_waiting_for_room_ends_by_recording() -> None:
    queue = Queue(window=2, page_size=1)
    queue.add(change(1, "a"), change(2, "b"))
    waiting = asyncio.create_task(queue.until(lambda: queue.has_room))
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.settle_as(queue.take_one(), DELIVERED)
    queue.record()
    await waiting


def test_retries_have_a_page_of_the_window_to_themselves() -> None:
    queue = Queue(window=6, page_size=2)
    queue.retry(change(1, "a"), change(2, "b"))
    assert queue.room_for_retries == 0
    assert queue.has_room
    queue.settle_as(queue.take_one(), DeliveryState.RETRYING)
    queue.record()
    assert queue.room_for_retries == 1


def test_retry_of_a_reservation_that_is_under_way_is_left_for_later() -> None:
    queue = Queue()
    queue.add(change(5))
    queue.retry(change(1), change(2, "other"))
    assert queue.taken() == [5, 2]


def test_retry_that_was_read_before_a_newer_change_was_delivered_is_superseded() -> None:
    queue = Queue()
    with queue.reading() as meanwhile:
        due = DueRetry(change(1), 1, 1, overtaken=False)
        queue.add(change(2))
        queue.settle_as(queue.take_one(), DELIVERED)
        queue.record()
        queue.hand_over_due([due], meanwhile)
    assert queue.taken() == []
    assert queue.record() == [(1, "superseded")]


def test_retry_below_an_unread_change_waits_until_the_log_was_read_to_its_end() -> None:
    queue = Queue()
    queue.hold_back_retries({ReservationId("r")})
    assert queue.occupied() == {"r"}
    queue.retry(change(1))
    assert not queue.has_ready
    queue.schedule_changed.clear()
    queue.add(at_end=True)
    assert queue.schedule_changed.is_set()
    queue.hold_back_retries({ReservationId("r")})  # which was read before the end of the log, and came back after it
    queue.retry(change(1))
    assert queue.taken() == [1]


def test_recorded_retry_has_the_schedule_looked_at() -> None:
    queue = Queue()
    queue.add(change(1, "a"), change(2, "b"))
    first, second = queue.take(2)
    queue.settle_as(first, DELIVERED)
    queue.record()
    assert not queue.schedule_changed.is_set()
    queue.settle_as(second, DeliveryState.RETRYING)
    queue.record()
    assert queue.schedule_changed.is_set()


def test_page_that_is_recorded_already_moves_the_position() -> None:
    queue = Queue()
    logged = LoggedChange(Xid(1), change(1), recorded=True, overtaken=False)
    with queue.reading() as meanwhile:
        queue.hand_over(Page((logged,), position(1), at_end=True), meanwhile)
    assert queue.unrecorded.is_set()
    assert not queue.all_recorded.is_set()
    batch = queue.next_batch(10)
    reached = queue.position_with(batch)
    assert (batch, reached) == ([], position(1))
    queue.recorded(batch)
    assert queue.all_recorded.is_set()


def test_all_is_recorded_only_when_nothing_was_settled_meanwhile() -> None:
    queue = Queue()
    queue.add(change(1, "a"), change(2, "b"))
    first, second = queue.take(2)
    queue.settle_as(first, DELIVERED)
    batch = queue.next_batch(10)
    queue.settle_as(second, DELIVERED)
    queue.recorded(batch)
    assert not queue.all_recorded.is_set()
    queue.record()
    assert queue.all_recorded.is_set()
    assert not queue.unrecorded.is_set()


def test_change_handed_over_twice_is_an_error_and_no_silence() -> None:
    queue = Queue()
    queue.add(change(1), change(2))
    with pytest.raises(RuntimeError, match=r"handed over twice: \[2\]"):
        queue.add(change(2), change(3))


@given(
    arrivals=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60),
    slots=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_each_delivery_is_taken_once_and_in_order(arrivals: list[tuple[str, bool]], slots: int, seed: int) -> None:
    queue, chance, under_way, taken = Queue(), Random(seed), list[InFlight](), list[Change]()

    def finish_one() -> None:
        delivery = under_way.pop(chance.randrange(len(under_way)))
        taken.append(delivery.change)
        queue.settle_as(delivery, chance.choice([DELIVERED, DeliveryState.RETRYING]))
        if chance.random() < 0.7:
            queue.record(chance.randint(1, 3))

    for seq, (reservation, finishes) in enumerate(arrivals):
        queue.add(change(seq, reservation))
        under_way += queue.take(slots - len(under_way))
        if finishes and under_way:
            finish_one()
    while under_way or queue.has_ready or queue.unrecorded.is_set():
        under_way += queue.take(slots - len(under_way))
        if under_way:
            finish_one()
        else:
            queue.record()
    for name in "abc":
        mine = [one.seq for one in taken if one.reservation_id == name]
        assert mine == [seq for seq, (reservation, _) in enumerate(arrivals) if reservation == name]
    assert queue.reached == len(arrivals)


class Crashable:
    """A queue, and what would be left if the daemon were killed."""

    def __init__(self, *, latest_only: bool) -> None:
        self.queue = Queue(latest_only=latest_only)
        self.made: list[Change] = []
        self.sending: list[InFlight] = []
        self._states: dict[int, DeliveryState] = {}

    def add(self, reservation: str) -> None:
        self.made.append(change(len(self.made), reservation))
        self.queue.add(self.made[-1])

    def take(self) -> None:
        self.sending += self.queue.take(1)

    def hold(self) -> None:
        if self.sending:
            self.queue.hold(self.sending.pop())
        if self.queue.held > 1:
            for held in self.queue.release_held():
                self.queue.queue_again(held)

    def end(self, state: DeliveryState) -> None:
        if self.sending:
            self.queue.settle_as(self.sending.pop(0), state)

    def record(self) -> None:
        batch = self.queue.next_batch(2)
        reached = self.queue.position_with(batch)
        self._states |= {delivery.change.seq: delivery.state for delivery in batch}
        self.queue.recorded(batch)
        kept = [
            one
            for number, one in enumerate(self.made, start=1)
            if number > reached.snapshot.xmax or self._states.get(one.seq) in {DELIVERED, DeliveryState.RETRYING}
        ]
        for one in self.made:
            assert any(other.reservation_id == one.reservation_id and other.seq >= one.seq for other in kept)


@given(
    steps=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5)), max_size=80),
    latest_only=st.booleans(),
)
def test_change_or_a_newer_one_is_always_delivered_or_to_be_retried_or_read_again(
    steps: list[tuple[str, int]],
    latest_only: bool,  # noqa: FBT001 - drawn
) -> None:
    """Superseding loses nothing, wherever the daemon is killed."""
    daemon = Crashable(latest_only=latest_only)
    for reservation, step in steps:
        (
            lambda: daemon.add(reservation),  # noqa: B023 - run at once
            daemon.take,
            daemon.hold,
            lambda: daemon.end(DELIVERED),
            lambda: daemon.end(DeliveryState.RETRYING),
            daemon.record,
        )[step]()
    assert daemon.queue.sending == len(daemon.sending)


LONG = "x" * 100_000


def test_few_changes_with_long_keys_fill_the_window() -> None:
    queue = Queue(window=3000, page_size=1000)
    queue.add(*(change(seq, f"{LONG}{seq}") for seq in range(1, 21)))
    assert not queue.has_room
    for delivery in queue.take(3):
        queue.settle_as(delivery, DELIVERED)
    queue.record()
    assert queue.has_room


def test_retries_with_long_keys_leave_no_room_for_others() -> None:
    queue = Queue()
    queue.retry(*(change(seq, f"{LONG}{seq}") for seq in range(1, 11)))
    assert queue.room_for_retries == 0
    queue.settle_as(queue.take_one(), DELIVERED)
    queue.record()
    assert queue.room_for_retries == 100 - 9


def test_batch_with_long_keys_is_short_and_never_empty() -> None:
    queue = Queue()
    queue.add(change(1, 20 * LONG), *(change(seq, f"{LONG}{seq}") for seq in range(2, 31)))
    for delivery in queue.take(30):
        queue.settle_as(delivery, DELIVERED)
    sizes = []
    while batch := queue.next_batch(1000):
        sizes.append(len(batch))
        queue.recorded(batch)
    assert sizes == [1, 10, 10, 9]


def test_position_counts_what_is_about_to_be_recorded_and_nothing_else() -> None:
    queue = Queue()
    queue.add(change(1, "a"), change(2, "b"))
    queue.add(change(3, "c"))
    first, second, third = queue.take(3)
    assert queue.position_with([second, third]) == position(0)
    assert queue.position_with([first, second]) == position(1)
    assert queue.position_with([first, second, third]) == position(2)
    assert queue.position_with([]) == position(0)


def test_reservation_that_is_set_aside_is_taken_again_once_it_is_resumed_and_others_meanwhile() -> None:
    queue = Queue()
    queue.add(change(1, "a"), change(2, "b"), change(3, "a"))
    first, second = queue.take(2)
    queue.dispatchable.clear()
    queue.set_aside(first)
    assert (queue.sending, queue.has_ready) == (1, False)
    assert queue.dispatchable.is_set()
    queue.settle_as(second, DELIVERED)
    queue.add(change(4, "c"))
    assert queue.record() == [(2, "delivered")]
    assert queue.taken() == [4]
    queue.dispatchable.clear()
    queue.resume_set_aside(16)
    assert queue.dispatchable.is_set()
    (again,) = queue.take(2)
    assert again is first
    queue.settle_as(first, DELIVERED)
    assert queue.record() == [(1, "delivered")]
    assert queue.taken() == [3]


def test_delivery_that_is_taken_back_is_the_next_one_and_its_reservation_keeps_its_order() -> None:
    queue = Queue()
    queue.add(change(1, "a"), change(2, "b"), change(3, "a"))
    first = queue.take_one()
    queue.dispatchable.clear()
    queue.take_back(first)
    assert queue.sending == 0
    assert queue.dispatchable.is_set()
    assert queue.taken() == [1, 2]
    queue.settle_as(first, DELIVERED)
    assert queue.record() == [(1, "delivered")]
    assert queue.taken() == [3]


def test_newest_change_takes_the_place_of_one_that_was_taken_back_with_latest_only() -> None:
    queue = Queue(latest_only=True)
    queue.add(change(1, "a"))
    delivery = queue.take_one()
    queue.add(change(2, "a"))
    queue.take_back(delivery)
    queue.add(change(3, "a"))
    assert sorted(queue.record()) == [(1, "superseded"), (2, "superseded")]
    assert queue.taken() == [3]


def test_those_that_were_set_aside_first_are_resumed_first_and_no_more_than_asked_for() -> None:
    queue = Queue()
    queue.add(*(change(seq, f"r{seq}") for seq in range(1, 6)))
    for delivery in queue.take(5):
        queue.set_aside(delivery)
    queue.resume_set_aside(2)
    assert queue.taken() == [1, 2]
    queue.resume_set_aside(16)
    assert queue.taken() == [3, 4, 5]
    queue.resume_set_aside(16)
    assert queue.taken() == []


def test_newest_change_takes_the_place_of_one_that_is_set_aside_with_latest_only() -> None:
    queue = Queue(latest_only=True)
    queue.add(change(1, "a"))
    queue.set_aside(queue.take_one())
    queue.add(change(2, "a"))
    assert queue.record() == [(1, "superseded")]
    assert queue.taken() == []
    queue.resume_set_aside(16)
    assert queue.taken() == [2]


def test_position_does_not_pass_what_is_set_aside() -> None:
    queue = Queue()
    queue.add(change(1, "a"))
    queue.set_aside(queue.take_one())
    queue.add(change(2, "b"))
    queue.settle_as(queue.take_one(), DELIVERED)
    queue.record()
    assert queue.reached == 0


def created(seq: int, reservation: str = "r") -> Change:
    return replace(change(seq, reservation), operation=Operation.CREATED)


def test_change_that_the_endpoint_does_not_get_is_skipped_and_stands_in_nobody_s_way() -> None:
    queue = Queue(events=Events.CREATED)
    queue.add(created(1), change(2))
    assert queue.taken() == [1]
    assert queue.record() == [(2, "skipped")]
    assert queue.reached == 0  # The first one is under way.
    queue = Queue(events=Events.UPDATED)
    queue.add(created(1), change(2))
    assert queue.taken() == [2]


@pytest.mark.parametrize("latest_only", [False, True])
def test_change_that_the_endpoint_does_not_get_supersedes_nothing(*, latest_only: bool) -> None:
    queue = Queue(events=Events.CREATED, latest_only=latest_only)
    queue.add(created(1), change(2), change(3))
    delivery = queue.take_one()
    assert delivery.change.seq == 1
    queue.settle_as(delivery, DELIVERED)
    assert sorted(queue.record()) == [(1, "delivered"), (2, "skipped"), (3, "skipped")]
    assert queue.reached == 1


def test_retry_is_sent_whatever_the_endpoint_gets_of_the_log() -> None:
    queue = Queue(events=Events.CREATED)
    queue.retry(change(1))
    assert queue.taken() == [1]


def test_only_what_was_read_after_the_end_of_the_log_was_surely_not_sent_before() -> None:
    queue = Queue()
    queue.add(change(1, "a"))
    queue.add(change(2, "b"), at_end=True)
    queue.add(change(3, "c"))
    assert {delivery.change.seq: delivery.may_be_unchanged for delivery in queue.take(3)} == {
        1: False,
        2: False,
        3: True,
    }


def test_what_was_queued_by_hand_or_tried_is_not_taken_for_unchanged() -> None:
    queue = Queue()
    queue.add(at_end=True)
    queue.retry(change(1, "a"))
    queue.add(change(2, "b"))
    retry, fresh = queue.take(2)
    assert not retry.may_be_unchanged
    fresh.attempts = 1
    assert not fresh.may_be_unchanged


def test_change_that_supersedes_one_that_may_have_been_sent_may_have_been_sent_itself() -> None:
    queue = Queue(latest_only=True)
    queue.add(change(1), at_end=True)
    queue.add(change(2))
    newest = queue.take_one()
    assert newest.change.seq == 2
    assert not newest.may_be_unchanged


def test_change_that_supersedes_one_that_failed_may_have_been_sent_itself() -> None:
    queue = Queue(latest_only=True)
    queue.add(at_end=True)
    queue.add(change(1))
    failed = queue.take_one()
    failed.attempts = 1
    queue.hold(failed)
    queue.add(change(2))
    (newest,) = queue.release_held()
    assert newest.change.seq == 2
    assert not newest.may_be_unchanged


@pytest.mark.parametrize("attempts", [0, 1])
def test_change_that_supersedes_what_somebody_queued_is_sent_in_its_place(attempts: int) -> None:
    """Its body may be the one delivered last: somebody wants it again. And a daemon that died may have sent another."""
    queue = Queue(latest_only=True)
    queue.add(at_end=True)
    with queue.reading() as meanwhile:
        queue.hand_over_due([DueRetry(change(1), attempts, 0, overtaken=False)], meanwhile)
    queue.add(change(2))
    queue.add(change(3))
    newest = queue.take_one()
    assert newest.change.seq == 3
    assert not newest.may_be_unchanged


def test_older_change_that_comes_late_tells_the_newer_one_that_it_may_have_been_sent() -> None:
    queue = Queue(latest_only=True)
    queue.add(change(5), at_end=False)
    queue.add(change(3), at_end=True)
    assert not queue.take_one().may_be_unchanged
