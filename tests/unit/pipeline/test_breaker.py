"""The breaker's decisions, with a clock of the test's own."""

from __future__ import annotations

import random
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_bridge.model import ReservationId
from cdc_bridge.pipeline.breaker import LONGEST_PAUSE_SECONDS, OPENS_AT, Breaker, Ruling
from cdc_bridge.transport.outcome import Failed, Fault

A, B, C, D = (ReservationId(letter) for letter in "ABCD")
UNAVAILABLE = Failed(503, "HTTP 503", Fault.ENDPOINT)
INVALID = Failed(422, "HTTP 422", Fault.DELIVERY)


def busy(seconds: float | None) -> Failed:
    return Failed(429, "HTTP 429", Fault.OVERLOAD, seconds)


def fail(breaker: Breaker, *reservations: ReservationId, now: float = 0.0) -> None:
    for reservation in reservations:
        assert breaker.refused(reservation, UNAVAILABLE, now, 0.0) == Ruling(held=True)


def opened() -> Breaker:
    breaker = Breaker(16)
    fail(breaker, A, B, C)
    assert breaker.is_open
    return breaker


def test_one_failing_reservation_leaves_the_others_alone() -> None:
    breaker = Breaker(16)
    fail(breaker, A)
    assert not breaker.is_open
    assert breaker.allows(0) == 8


def test_reservation_that_fails_again_while_others_succeed_is_charged() -> None:
    breaker = Breaker(16)
    fail(breaker, A)
    assert breaker.accepted(B) == Ruling(freed=(A,))
    fail(breaker, A)
    assert breaker.accepted(B) == Ruling(charged=(A,))
    assert breaker.probe_at is None


def test_one_failing_reservation_in_a_quiet_system_is_tried_again_and_again_uncharged() -> None:
    breaker = Breaker(16)
    fail(breaker, A)
    pauses, now = [], 0.0
    for _ in range(9):
        assert breaker.probe_at is not None
        pauses.append(breaker.probe_at - now)
        now = breaker.probe_at
        assert breaker.begin_probe(now, None) == A
        assert breaker.probe_at is None
        fail(breaker, A, now=now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert breaker.backs_off
    assert breaker.accepted(B) == Ruling(freed=(A,))
    assert not breaker.backs_off


def test_several_failing_reservations_open_it() -> None:
    breaker = opened()
    assert breaker.allows(0) == 0
    assert breaker.reason == "HTTP 503"


def test_failures_with_a_success_in_between_do_not_open_it() -> None:
    breaker = Breaker(16)
    fail(breaker, A, B)
    breaker.accepted(D)
    fail(breaker, C)
    assert not breaker.is_open


def test_while_open_one_probe_at_a_time_by_turns() -> None:
    breaker, now, probed = opened(), 0.0, []
    assert breaker.begin_probe(0.5, None) is None
    for _ in range(6):
        now = breaker.probe_at or 0.0
        probe = breaker.begin_probe(now, None)
        assert probe is not None
        assert breaker.begin_probe(now + 1000, D) is None
        probed.append(probe)
        fail(breaker, probe, now=now)
    assert probed == [A, B, C, A, B, C]


def test_calls_under_way_when_it_opened_do_not_lengthen_the_pause() -> None:
    breaker = opened()
    before = breaker.probe_at
    fail(breaker, *(ReservationId(f"straggler-{n}") for n in range(13)))
    assert breaker.probe_at == before


def test_success_of_a_probe_frees_the_held_uncharged_and_begins_with_one_call() -> None:
    breaker = opened()
    assert breaker.begin_probe(1.0, None) == A
    assert breaker.accepted(A) == Ruling(freed=(B, C))
    assert (breaker.is_open, breaker.reason, breaker.allows(0)) == (False, None, 1)


def test_endpoint_that_fails_again_after_one_success_charges_nobody() -> None:
    breaker = opened()
    breaker.begin_probe(1.0, None)
    breaker.accepted(A)
    fail(breaker, B, C, D, now=1.0)
    assert breaker.is_open


def test_concurrency_grows_with_success_and_halves_with_failure() -> None:
    breaker = opened()
    breaker.accepted(A)
    for n in range(10):
        breaker.accepted(ReservationId(f"ok-{n}"))
    assert breaker.limit == 11
    fail(breaker, B)
    assert breaker.limit == 5
    for n in range(100):
        breaker.accepted(ReservationId(f"ok-{n}"))
    assert breaker.limit == 16


def test_answer_that_judges_the_delivery_shows_that_the_endpoint_works() -> None:
    breaker = opened()
    assert breaker.refused(D, INVALID, 0.0, 0.0) == Ruling(freed=(A, B, C))
    assert not breaker.is_open
    fail(breaker, A)
    assert breaker.accepted(D) == Ruling(freed=(A,))  # the first success beside it


def test_429_opens_it_at_once_for_as_long_as_asked() -> None:
    breaker = Breaker(16)
    assert breaker.refused(A, busy(30), 100.0, 0.0) == Ruling(held=True)
    assert breaker.is_open
    assert breaker.probe_at == 130


def test_retry_after_never_shortens_a_pause() -> None:
    breaker, now = opened(), 0.0
    for _ in range(6):
        now = breaker.probe_at or 0.0
        probe = breaker.begin_probe(now, None)
        assert probe is not None
        breaker.refused(probe, busy(0.1), now, 0.0)
    assert breaker.probe_at == now + LONGEST_PAUSE_SECONDS
    breaker.refused(D, busy(1), now, 0.0)
    assert breaker.probe_at == now + LONGEST_PAUSE_SECONDS


def test_reservations_that_are_always_refused_do_not_keep_the_others_out() -> None:
    breaker = Breaker(16)
    breaker.refused(A, busy(None), 0.0, 0.0)
    assert breaker.begin_probe(1.0, B) == B
    assert breaker.accepted(B) == Ruling(freed=(A,))


def test_request_for_a_pause_is_never_charged() -> None:
    breaker = Breaker(16)
    for _ in range(5):
        breaker.refused(A, busy(None), 0.0, 0.0)
        assert breaker.accepted(B) == Ruling(freed=(A,))


def test_reservation_being_probed_is_not_freed_by_the_success_of_another() -> None:
    breaker = opened()
    breaker.begin_probe(1.0, None)
    assert breaker.accepted(D) == Ruling(freed=(B, C))


def test_forgotten_probe_makes_room_for_the_next() -> None:
    breaker = opened()
    assert breaker.begin_probe(1.0, None) == A
    breaker.forget(A)
    assert breaker.begin_probe(1.0, None) == B


@given(
    outage=st.tuples(st.floats(0, 50), st.floats(1, 500)),
    poison=st.sets(st.integers(0, 30), max_size=3),
    gap=st.floats(0.01, 5),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=300, deadline=None)
def test_after_any_outage_all_healthy_reservations_arrive_soon_and_uncharged(
    outage: tuple[float, float], poison: set[int], gap: float, seed: int
) -> None:
    """A model of lanes and endpoint: one call takes 0.05 s; poisoned reservations are always refused."""
    chance = random.Random(seed)
    breaker, now = Breaker(8), 0.0
    start, length = outage
    coming = deque((n * gap, ReservationId(str(n))) for n in range(60))
    ready: deque[ReservationId] = deque()
    calls: list[tuple[float, ReservationId]] = []
    arrived: set[ReservationId] = set()
    charged: set[ReservationId] = set()
    last_coming = coming[-1][0]
    # The first probes after the outage may be of poisoned ones.
    deadline = max(start + length, last_coming) + (2 + len(poison)) * LONGEST_PAUSE_SECONDS + 10
    while now < deadline and len(arrived | charged) < 60:
        while coming and coming[0][0] <= now:
            ready.append(coming.popleft()[1])
        probe = breaker.begin_probe(now, ready[0] if ready else None)
        if probe is not None:
            if probe in ready:
                ready.remove(probe)
            calls.append((now + 0.05, probe))
        may_begin = min(breaker.allows(len(calls)), len(ready))
        calls += [(now + 0.05 + chance.random() / 20, ready.popleft()) for _ in range(may_begin)]
        times = [time for time, _ in calls] + [time for time, _ in list(coming)[:1]]
        times += [breaker.probe_at] if breaker.probe_at is not None else []
        if not times:
            break
        now = max(now, min(times))
        for call in [call for call in calls if call[0] <= now]:
            calls.remove(call)
            reservation = call[1]
            if int(reservation) in poison or start <= now < start + length:
                ruling = breaker.refused(reservation, UNAVAILABLE, now, chance.random())
            else:
                arrived.add(reservation)
                ruling = breaker.accepted(reservation)
            ready.extend(ruling.freed)
            charged.update(ruling.charged)
    healthy = {ReservationId(str(n)) for n in range(60) if n not in poison}
    assert healthy - charged <= arrived
    # Charged wrongly can be who failed at the very edges of the outage, at most what was under way.
    assert len(charged & healthy) <= 2 * 8 + OPENS_AT
