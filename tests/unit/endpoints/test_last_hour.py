from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.endpoints.last_hour import MINUTES, LastHour, with_call
from cdc_bridge.model import Change, Operation, ReservationId, Seq
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault, Outcome

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def counted(*calls: tuple[float, bool]) -> LastHour:
    hour = None
    for minutes, accepted in calls:
        hour = with_call(hour, after(minutes), accepted=accepted)
    assert hour is not None
    return hour


def test_calls_are_counted_in_the_minute_in_which_they_ended() -> None:
    hour = counted((0, True), (0.99, True), (1, False), (3.5, True))
    assert hour.last_minute_at == after(3)
    assert hour.calls[-4:] == [(2, 0), (0, 1), (0, 0), (1, 0)]
    assert hour.calls[:-4] == [(0, 0)] * 56


def test_minutes_without_calls_are_empty_up_to_the_one_that_is_looked_at() -> None:
    hour = counted((0, True)).ending(after(2.7))
    assert hour.last_minute_at == after(2)
    assert hour.calls[-3:] == [(1, 0), (0, 0), (0, 0)]


def test_what_is_an_hour_old_is_gone() -> None:
    hour = counted((0, True), (1, False))
    assert hour.ending(after(59)).calls[:2] == [(1, 0), (0, 1)]
    assert hour.ending(after(60)).calls[:2] == [(0, 1), (0, 0)]
    assert hour.ending(after(61)).calls == [(0, 0)] * MINUTES
    assert hour.ending(after(1_000_000)).calls == [(0, 0)] * MINUTES


def test_call_that_ended_before_another_was_counted_is_counted_where_it_belongs() -> None:
    assert counted((5, True), (3, False)).calls[-3:] == [(0, 1), (0, 0), (1, 0)]


def test_clock_that_was_put_back_far_begins_anew_and_loses_what_lay_ahead() -> None:
    hour = counted((60, True), (0, True))
    assert hour.last_minute_at == NOON
    assert hour.calls[-1] == (1, 0)
    assert sum(hour.accepted) == 1


def test_minutes_that_lie_ahead_of_whoever_looks_are_not_shown_yet() -> None:
    hour = counted((0, True), (2, False)).ending(NOON)
    assert hour.calls[-1] == (1, 0)
    assert sum(hour.refused) == 0


def test_minute_is_the_same_in_every_time_zone() -> None:
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    assert with_call(None, after(1.5).astimezone(kathmandu), accepted=True) == counted((1.5, True))


@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=1), st.integers(0, 200))
def test_every_call_of_the_hour_is_in_it_and_no_other(calls: list[tuple[int, bool]], later: int) -> None:
    calls.sort()
    end = calls[-1][0] + later
    expected = Counter(calls)
    assert counted(*calls).ending(after(end)).calls == [
        (expected[minute, True], expected[minute, False]) for minute in range(end - MINUTES + 1, end + 1)
    ]


def test_attempts_are_counted_when_they_ended_and_only_where_a_call_was_made() -> None:
    log = Telemetry("till", counted((-1, True)))
    change = Change(Seq(1), ReservationId("R"), Operation.UPDATED, NOON)
    refused = Failed(503, "HTTP 503", Fault.ENDPOINT)
    outcomes: list[tuple[str | None, Outcome]] = [
        ("1-0123456789abcdef", Delivered(200)),
        ("1-0123456789abcdef", refused),
        (None, refused),  # The view could not show it.
    ]
    for message_id, outcome in outcomes:
        log.attempted(InFlight(change), Attempt(message_id, after(0.9), 12.0, outcome), 0.0)
    assert log.last_hour is not None
    assert (log.last_hour.last_minute_at, log.last_hour.calls[-3:]) == (after(1), [(1, 0), (0, 0), (1, 1)])
