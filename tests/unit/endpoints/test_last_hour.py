from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.endpoints.last_hour import MINUTES, LastHour, with_attempt
from cdc_bridge.model import Change, Operation, ReservationId, Seq
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault, Outcome

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def counted(*attempts: tuple[float, bool]) -> LastHour:
    hour = None
    for minutes, delivered in attempts:
        hour = with_attempt(hour, after(minutes), delivered=delivered)
    assert hour is not None
    return hour


def test_attempts_are_counted_in_the_minute_in_which_they_ended() -> None:
    hour = counted((0, True), (0.99, True), (1, False), (3.5, True))
    assert hour.last_minute_at == after(3)
    assert hour.attempts[-4:] == [(2, 0), (0, 1), (0, 0), (1, 0)]
    assert hour.attempts[:-4] == [(0, 0)] * 56


def test_minutes_without_attempts_are_empty_up_to_the_one_that_is_looked_at() -> None:
    hour = counted((0, True)).ending(after(2.7))
    assert hour.last_minute_at == after(2)
    assert hour.attempts[-3:] == [(1, 0), (0, 0), (0, 0)]


def test_what_is_an_hour_old_is_gone() -> None:
    hour = counted((0, True), (1, False))
    assert hour.ending(after(59)).attempts[:2] == [(1, 0), (0, 1)]
    assert hour.ending(after(60)).attempts[:2] == [(0, 1), (0, 0)]
    assert hour.ending(after(61)).attempts == [(0, 0)] * MINUTES
    assert hour.ending(after(1_000_000)).attempts == [(0, 0)] * MINUTES


def test_attempt_that_ended_before_another_was_counted_is_counted_where_it_belongs() -> None:
    assert counted((5, True), (3, False)).attempts[-3:] == [(0, 1), (0, 0), (1, 0)]


def test_clock_that_was_set_back_far_starts_anew_and_loses_what_lay_ahead() -> None:
    hour = counted((60, True), (0, True))
    assert hour.last_minute_at == NOON
    assert hour.attempts[-1] == (1, 0)
    assert sum(hour.delivered) == 1


def test_minutes_that_lie_ahead_of_whoever_looks_are_not_shown_yet() -> None:
    hour = counted((0, True), (2, False)).ending(NOON)
    assert hour.attempts[-1] == (1, 0)
    assert sum(hour.failed) == 0


def test_minute_is_the_same_in_every_time_zone() -> None:
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    assert with_attempt(None, after(1.5).astimezone(kathmandu), delivered=True) == counted((1.5, True))


@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=1), st.integers(0, 200))
def test_every_attempt_of_the_hour_is_in_it_and_no_other(attempts: list[tuple[int, bool]], later: int) -> None:
    attempts.sort()
    end = attempts[-1][0] + later
    expected = Counter(attempts)
    assert counted(*attempts).ending(after(end)).attempts == [
        (expected[minute, True], expected[minute, False]) for minute in range(end - MINUTES + 1, end + 1)
    ]


def test_attempts_are_counted_when_they_ended_and_only_if_a_request_was_sent() -> None:
    log = Telemetry("till", counted((-1, True)))
    change = Change(Seq(1), ReservationId("R"), Operation.UPDATED, NOON)
    failed = Failed(503, "HTTP 503", Fault.ENDPOINT)
    outcomes: list[tuple[str | None, Outcome]] = [
        ("1-0123456789abcdef", Delivered(200)),
        ("1-0123456789abcdef", failed),
        (None, failed),  # The view could not show it.
    ]
    for message_id, outcome in outcomes:
        log.attempted(InFlight(change), Attempt(message_id, after(0.9), 12.0, outcome), 0.0)
    assert log.last_hour is not None
    assert (log.last_hour.last_minute_at, log.last_hour.attempts[-3:]) == (after(1), [(1, 0), (0, 0), (1, 1)])
