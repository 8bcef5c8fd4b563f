"""The breaker's decisions on the deliveries that are held, with a clock of the test's own."""

from __future__ import annotations

import random
from collections import deque
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_bridge.capture.change_log import LoggedChange, Page
from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.model import Change, DeliveryState, Operation, ReservationId, Seq, Xid
from cdc_bridge.pipeline.breaker import OPENS_AT, PAUSES, VERDICT_SECONDS, Breaker, is_at_fault
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.pipeline.queue import DeliveryQueue
from cdc_bridge.transport.outcome import Attempt, Failed, Fault, judge

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
A, B, C, D = (ReservationId(letter) for letter in "ABCD")
UNAVAILABLE = Failed(503, "HTTP 503", Fault.ENDPOINT)
INVALID = Failed(422, "HTTP 422", Fault.DELIVERY)


def busy(seconds: float | None) -> Failed:
    return Failed(429, "HTTP 429", Fault.OVERLOAD, seconds)


class Model:
    """A breaker and the queue that it decides on, put together as the dispatcher does."""

    def __init__(self, max_in_flight: int = 16) -> None:
        self.breaker = Breaker(max_in_flight)
        self.queue = DeliveryQueue(Position(Snapshot(Xid(0), frozenset())), window=1000, page_size=100)
        self.sending: dict[ReservationId, InFlight] = {}
        self._seq = 0

    def add(self, *reservations: ReservationId) -> None:
        for reservation in reservations:
            self._seq += 1
            change = Change(Seq(self._seq), reservation, Operation.UPDATED, NOW)
            logged = LoggedChange(Xid(self._seq), change, recorded=False, overtaken=False)
            with self.queue.reading() as meanwhile:
                position = Position(Snapshot(Xid(self._seq), frozenset()))
                self.queue.hand_over(Page((logged,), position, at_end=True), meanwhile)

    def send(self, limit: int) -> None:
        self.sending |= {delivery.change.reservation_id: delivery for delivery in self.queue.take(limit)}

    def probe(self, now: float) -> ReservationId | None:
        """Send a probe, if one is due."""
        if self.breaker.probe_at is None or now < self.breaker.probe_at:
            return None
        probe = self.queue.take_probe(ready_first=self.breaker.is_open)
        if probe is None:
            return None
        reservation = probe.change.reservation_id
        self.breaker.begin_probe(reservation)
        self.sending[reservation] = probe
        return reservation

    def fail(self, *reservations: ReservationId, failure: Failed = UNAVAILABLE, now: float = 0.0) -> None:
        """Have attempts fail, of reservations that are sent now if they are not yet."""
        for reservation in reservations:
            if reservation not in self.sending:
                self.add(reservation)
                self.send(1000)
            delivery = self.sending.pop(reservation)
            delivery.last_attempt = Attempt("id", NOW, 0.0, failure)
            self.queue.hold(delivery)
            self.breaker.failed(reservation, failure, held=self.queue.held_failed, now=now, random=0.0)

    def reject(self, *reservations: ReservationId, failure: Failed = INVALID, now: float = 0.0) -> list[str]:
        """Have attempts be rejected; return which reservations are at fault already."""
        at_fault = list[str]()
        for reservation in reservations:
            if reservation not in self.sending:
                self.add(reservation)
                self.send(1000)
            delivery = self.sending.pop(reservation)
            delivery.last_attempt = Attempt("id", NOW, 0.0, failure)
            was_probe = self.breaker.is_probing(reservation)
            if self.breaker.rejected(reservation, failure, before=delivery.failures > 0, now=now, random=0.0):
                at_fault.append(reservation)
                self._settle(delivery)
            else:
                self.queue.hold(delivery)
            if was_probe and not self.breaker.is_open:
                for held in self.queue.release_held(lambda one, new=delivery: one is not new):  # type: ignore[misc]
                    self.queue.queue_again(held)
        return at_fault

    def succeed(self, reservation: ReservationId, now: float = -1000.0) -> tuple[list[str], list[str]]:
        """Have an attempt succeed; return which held reservations are queued again, and which are at fault."""
        if delivery := self.sending.pop(reservation, None):
            self._settle(delivery)
        was_open = self.breaker.is_open
        self.breaker.succeeded(now)
        again, at_fault = list[str](), list[str]()
        for held in self.queue.release_held():
            if is_at_fault(held, was_open=was_open):
                at_fault.append(held.change.reservation_id)
                self._settle(held)
            else:
                again.append(held.change.reservation_id)
                self.queue.queue_again(held)
        return again, at_fault

    def _settle(self, delivery: InFlight) -> None:
        delivery.state = DeliveryState.DELIVERED
        self.queue.settle(delivery)
        batch = self.queue.next_batch(1000)
        self.queue.recorded(batch)


def opened() -> Model:
    model = Model()
    model.fail(A, B, C)
    assert model.breaker.is_open
    return model


def test_one_failing_reservation_leaves_the_others_alone() -> None:
    model = Model()
    model.fail(A)
    assert not model.breaker.is_open
    assert model.breaker.allows(0) == 8


def test_reservation_that_fails_again_while_others_succeed_is_at_fault() -> None:
    model = Model()
    model.fail(A)
    assert model.succeed(B) == ([A], [])
    model.send(1)
    model.fail(A)
    assert model.succeed(B) == ([], [A])
    assert model.breaker.probe_at is None


def test_pause_that_the_endpoint_asked_for_can_be_ended() -> None:
    model = Model()
    model.breaker.probe_now(0.0)
    assert model.breaker.probe_at is None  # nothing waits
    model.fail(A, failure=Failed(429, "HTTP 429", Fault.OVERLOAD, 3600.0))
    assert model.breaker.probe_at == 3600.0
    model.breaker.probe_now(5.0)
    assert model.probe(5.0) == A
    model.breaker.probe_now(6.0)
    assert model.breaker.probe_at is None  # it is in flight
    model.fail(A, failure=Failed(429, "HTTP 429", Fault.OVERLOAD, 3600.0), now=6.0)
    assert model.breaker.probe_at == 3606.0


def test_one_failing_reservation_alone_is_probed_again_and_again_and_not_at_fault() -> None:
    model, pauses, now = Model(), [], 0.0
    model.fail(A)
    for _ in range(9):
        assert model.breaker.probe_at is not None
        pauses.append(model.breaker.probe_at - now)
        now = model.breaker.probe_at
        assert model.probe(now) == A
        assert model.breaker.probe_at is None
        model.fail(A, now=now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert model.breaker.is_failing
    assert model.succeed(B) == ([A], [])
    assert not model.breaker.is_failing


def test_several_failing_reservations_open_it() -> None:
    model = opened()
    assert model.breaker.allows(0) == 0
    assert model.breaker.reason == "HTTP 503"


def test_failures_with_a_success_in_between_do_not_open_it() -> None:
    model = Model()
    model.fail(A, B)
    model.succeed(D)
    model.fail(C)
    assert not model.breaker.is_open


def test_while_open_one_probe_at_a_time_by_turns() -> None:
    model, now, probed = opened(), 0.0, []
    assert model.probe(0.5) is None
    for _ in range(6):
        now = model.breaker.probe_at or 0.0
        probe = model.probe(now)
        assert probe is not None
        assert model.probe(now + 1000) is None
        probed.append(probe)
        model.fail(probe, now=now)
    assert probed == [A, B, C, A, B, C]


def test_requests_under_way_when_it_opened_do_not_lengthen_the_pause() -> None:
    model = opened()
    before = model.breaker.probe_at
    model.fail(*(ReservationId(f"straggler-{n}") for n in range(13)))
    assert model.breaker.probe_at == before


def test_success_of_a_probe_queues_the_held_again_and_begins_with_one_request() -> None:
    model = opened()
    assert model.probe(1.0) == A
    assert model.succeed(A) == ([B, C], [])
    assert (model.breaker.is_open, model.breaker.reason, model.breaker.allows(0)) == (False, None, 1)


def test_endpoint_that_fails_again_after_one_success_leaves_none_at_fault() -> None:
    model = opened()
    model.probe(1.0)
    model.succeed(A)
    model.send(10)
    model.fail(B, C, D, now=1.0)
    assert model.breaker.is_open


def test_concurrency_grows_with_success_and_halves_with_failure() -> None:
    model = opened()
    model.succeed(A)
    for n in range(10):
        model.succeed(ReservationId(f"ok-{n}"))
    assert model.breaker.allows(0) == 11
    model.fail(D)
    assert model.breaker.allows(0) == 5
    for n in range(100):
        model.succeed(ReservationId(f"ok-{n}"))
    assert model.breaker.allows(0) == 16


def test_rejection_amid_successes_is_the_delivery_s_own_fault() -> None:
    model = Model()
    assert model.reject(A) == []
    assert model.succeed(D) == ([], [A])
    assert model.breaker.verdict_at is None


def test_few_rejections_just_after_a_success_are_the_deliveries_own_fault_at_once() -> None:
    model = Model()
    model.succeed(D, now=10.0)
    assert model.reject(A, B, C, now=10.5) == [A, B]
    assert model.breaker.decide(now=11.5, random=0.0)


def test_rejection_with_nothing_else_waits_for_a_moment_and_is_the_delivery_s_own_fault() -> None:
    model = Model()
    assert model.reject(A, B, now=10.0) == []
    assert model.breaker.verdict_at == 10 + VERDICT_SECONDS
    assert not model.breaker.decide(now=11.0, random=0.0)
    assert not model.breaker.is_failing


@pytest.mark.parametrize("status", [400, 402, 405, 406, 409, 411, 413, 415, 417, 421, 422, 428, 431, 451, 499])
def test_several_reservations_rejected_and_none_accepted_open_it_whatever_the_status(status: int) -> None:
    model, failure = Model(), judge(status, {}, NOW)
    assert isinstance(failure, Failed)
    assert model.reject(A, B, C, failure=failure) == []
    assert not model.breaker.is_open
    assert model.breaker.decide(now=VERDICT_SECONDS, random=0.0)
    assert (model.breaker.is_open, model.breaker.allows(0)) == (True, 0)
    assert model.breaker.reason == f"it rejects every reservation: {failure.reason}"


def test_rejections_hours_apart_with_no_success_in_between_open_it() -> None:
    model = Model()
    for hour, reservation in enumerate((A, B, C)):
        model.reject(reservation, now=hour * 3600.0)
        assert model.breaker.verdict_at is not None
        assert model.breaker.verdict_at <= hour * 3600.0 + VERDICT_SECONDS
        assert model.breaker.decide(now=hour * 3600.0 + 1, random=0.0) is (hour == 2)


def test_one_reservation_rejected_again_and_again_does_not_open_it() -> None:
    model = Model()
    for second in range(10):
        model.reject(A, now=float(second))
        model.sending[A] = model.queue.release_held()[0]
        model.queue.queue_again(model.sending[A])
        model.send(1)
    assert not model.breaker.decide(now=10.0, random=0.0)


def test_delivery_that_was_at_fault_before_is_no_evidence() -> None:
    model = Model()
    for reservation in (A, B, C, D):
        model.add(reservation)
        model.send(1)
        model.sending[reservation].failures = 1
    assert model.reject(A, B, C, D) == [A, B, C, D]
    assert model.breaker.verdict_at is None


def test_endpoint_that_accepts_something_again_leaves_none_of_those_rejected_before_at_fault() -> None:
    model = Model()
    model.reject(A, B, C)
    model.breaker.decide(now=1.0, random=0.0)
    assert model.probe(2.0) == A
    assert model.succeed(A) == ([B, C], [])
    model.send(10)
    model.reject(B, now=3.0)
    assert model.succeed(D) == ([], [B])


def test_rejections_that_reopen_it_again_and_again_are_charged_by_the_second_success() -> None:
    """As thousands that are replayed and rejected rightly, and now and then a change that is accepted."""
    model, many = Model(), [A, B, C]
    model.reject(*many)
    for round_, (again, at_fault) in enumerate([(many, []), ([], many)]):
        model.breaker.decide(now=10.0 * round_ + 1, random=0.0)
        assert model.breaker.is_open
        assert model.succeed(D) == (again, at_fault)
        if again:
            model.send(10)
            model.reject(*many, now=10.0)


def test_probe_that_is_rejected_shows_that_the_endpoint_responds_and_accuses_none() -> None:
    model = opened()
    assert model.probe(1.0) == A
    assert model.reject(A, now=1.0) == []
    assert (model.breaker.is_failing, model.breaker.allows(0)) == (False, 1)
    assert (model.queue.held, model.queue.held_failed) == (1, 0)
    model.send(2)
    model.fail(B, now=1.1)
    assert model.succeed(D) == ([B], [A]), "the first success beside it"


@pytest.mark.parametrize("failure", [UNAVAILABLE, busy(None)])
def test_one_reservation_that_is_rejected_after_an_outage_goes_by_its_schedule(failure: Failed) -> None:
    model = Model()
    model.fail(A, failure=failure)
    assert model.probe(10.0) == A
    assert model.reject(A, now=10.0) == []
    assert model.breaker.verdict_at == 10 + VERDICT_SECONDS
    assert not model.breaker.decide(now=11.0, random=0.0)


def test_endpoint_that_rejects_and_fails_by_turns_and_accepts_nothing_stays_shut() -> None:
    model, now = Model(), 1.0
    model.reject(A, B, C)
    assert model.breaker.decide(now=now, random=0.0)
    for turn in range(20):
        now = model.breaker.probe_at or 0.0
        probe = model.probe(now)
        assert probe is not None
        if turn % 2:
            model.reject(probe, now=now)
        else:
            model.fail(probe, now=now)
        assert model.breaker.is_open
    assert model.breaker.probe_at == now + PAUSES.longest_seconds


def test_rejection_in_flight_when_the_endpoint_asks_for_a_pause_does_not_end_the_pause() -> None:
    model = Model()
    model.add(A, B)
    model.send(2)
    model.fail(A, failure=busy(30), now=0.0)
    assert model.reject(B, now=0.1) == []
    assert (model.breaker.is_open, model.breaker.probe_at) == (True, 30)
    assert model.breaker.verdict_at is None


def test_rejection_after_hours_waits_for_what_is_in_flight_beside_it() -> None:
    model = Model()
    model.reject(A, B, now=0.0)
    assert not model.breaker.decide(now=1.0, random=0.0)
    model.reject(C, now=3600.0)
    assert model.breaker.verdict_at == 3601


def test_pauses_between_probes_grow_while_everything_is_rejected_but_for_a_change_never_sent() -> None:
    model, now, pauses = Model(), 1.0, []
    model.reject(A, B, C)
    model.breaker.decide(now=now, random=0.0)
    for _ in range(8):
        due = model.breaker.probe_at
        assert due is not None
        assert model.breaker.probe_unsent_at == now + PAUSES.first_seconds
        pauses.append(due - now)
        now = due
        probe = model.probe(now)
        assert probe is not None
        model.reject(probe, now=now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_pause_that_a_rejection_asks_for_is_honoured_for_every_probe() -> None:
    model = Model()
    model.reject(A, B, C, failure=Failed(422, "HTTP 422", Fault.DELIVERY, 600.0))
    model.breaker.decide(now=1.0, random=0.0)
    assert (model.breaker.probe_at, model.breaker.probe_unsent_at) == (601, 601)


def test_rejections_do_not_count_beside_other_failures() -> None:
    model = Model()
    model.reject(A, B)
    model.fail(C)
    assert not model.breaker.is_open
    assert model.breaker.probe_at == 1


def test_429_opens_it_at_once_for_as_long_as_asked() -> None:
    model = Model()
    model.fail(A, failure=busy(30), now=100.0)
    assert model.breaker.is_open
    assert model.breaker.probe_at == 130


def test_longest_retry_after_of_several_requests_in_flight_counts() -> None:
    model = Model()
    model.fail(A, failure=busy(30), now=100.0)
    model.fail(B, failure=busy(60), now=101.0)
    model.fail(C, failure=busy(1), now=102.0)
    assert model.breaker.probe_at == 161


def test_retry_after_never_shortens_a_pause() -> None:
    model, now = opened(), 0.0
    for _ in range(6):
        now = model.breaker.probe_at or 0.0
        probe = model.probe(now)
        assert probe is not None
        model.fail(probe, failure=busy(0.1), now=now)
    assert model.breaker.probe_at == now + PAUSES.longest_seconds
    model.fail(D, failure=busy(1), now=now)
    assert model.breaker.probe_at == now + PAUSES.longest_seconds


def test_reservations_that_always_fail_do_not_keep_the_others_out() -> None:
    model = Model()
    model.fail(A, failure=busy(None))
    model.add(B)
    assert model.probe(1.0) == B
    assert model.succeed(B) == ([A], [])


def test_request_for_a_pause_is_nobody_s_fault() -> None:
    model = Model()
    for _ in range(5):
        model.fail(A, failure=busy(None))
        assert model.succeed(B) == ([A], [])
        model.send(1)


def test_reservation_being_probed_is_not_released_by_the_success_of_another() -> None:
    model = opened()
    model.probe(1.0)
    assert model.succeed(D) == ([B, C], [])


def test_probe_that_came_to_no_request_makes_room_for_the_next() -> None:
    model = opened()
    assert model.probe(1.0) == A
    model.breaker.cancel_probe(A)
    assert model.probe(1.0) == B


def test_open_breaker_with_nothing_left_to_probe_probes_what_comes() -> None:
    model = Model()
    model.fail(A, failure=busy(None))
    assert model.probe(1.0) == A
    model.breaker.cancel_probe(A)  # Its reservation was deleted.
    assert model.probe(2.0) is None
    model.add(B)
    assert model.probe(3.0) == B
    model.succeed(B)
    assert model.breaker.allows(0) == 1


@pytest.mark.parametrize("failure", [None, busy(None)])
def test_what_has_not_failed_itself_is_never_at_fault(failure: Failed | None) -> None:
    """As a newer change that took the place of a held one (``latest_only``)."""
    held = InFlight(Change(Seq(1), A, Operation.UPDATED, NOW), suspected=True)
    held.last_attempt = None if failure is None else Attempt("id", NOW, 0.0, failure)
    assert not is_at_fault(held, was_open=True)


@given(
    outage=st.tuples(st.floats(0, 50), st.floats(1, 500)),
    poison=st.sets(st.integers(0, 30), max_size=3),
    gap=st.floats(0.01, 5),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=100, deadline=None)
def test_after_any_outage_all_healthy_reservations_arrive_soon_and_none_is_at_fault(
    outage: tuple[float, float], poison: set[int], gap: float, seed: int
) -> None:
    """A model of the endpoint: a request takes 0.05 s and a bit; poisoned reservations always fail."""
    chance = random.Random(seed)
    model, now = Model(8), 0.0
    start, length = outage
    coming = deque((n * gap, ReservationId(str(n))) for n in range(60))
    ends: dict[ReservationId, float] = {}
    arrived, charged = set[str](), set[str]()
    # The first probes after the outage may be of poisoned ones.
    deadline = max(start + length, coming[-1][0]) + (2 + len(poison)) * PAUSES.longest_seconds + 10
    while now < deadline and len(arrived | charged) < 60:
        while coming and coming[0][0] <= now:
            model.add(coming.popleft()[1])
        model.probe(now)
        model.send(model.breaker.allows(model.queue.sending))
        for reservation in model.sending.keys() - ends.keys():
            ends[reservation] = now + 0.05 + chance.random() / 20
        times = [*ends.values(), *(time for time, _ in list(coming)[:1])]
        if model.breaker.probe_at is not None and model.queue.held:
            times.append(model.breaker.probe_at)
        if not times:
            break
        now = max(now, min(times))
        for reservation in [reservation for reservation, end in ends.items() if end <= now]:
            del ends[reservation]
            if int(reservation) in poison or start <= now < start + length:
                model.fail(reservation, now=now)
            else:
                arrived.add(reservation)
                charged.update(model.succeed(reservation)[1])
    healthy = {str(n) for n in range(60) if n not in poison}
    assert healthy - charged <= arrived
    # At fault wrongly can be who failed at the very edges of the outage, at most what was under way.
    assert len(charged & healthy) <= 2 * 8 + OPENS_AT
