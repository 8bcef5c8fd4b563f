from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cdc_bridge.alerts.decision import Course, Decision, Reason, Reported, State, decide

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
AFTER = timedelta(seconds=60)
LOOK = timedelta(seconds=5)
CAPTURE = ("capture",)
TILL = ("endpoint:till",)
GREEN: Sequence[str] = ()


class Watched:
    """Health as time passes, and what is reported of it."""

    def __init__(self, reported: Reported | None = None) -> None:
        self.now = NOON
        self.course = Course()
        self.reported = reported or Reported()
        self.alerts: list[Decision] = []

    def goes_on(
        self, problems: Sequence[str], *, seconds: float = 0, minutes: float = 0, hours: float = 0
    ) -> list[str]:
        """Look at intervals for a time; return the reasons of the alerts in it."""
        until, reasons = self.now + timedelta(hours=hours, minutes=minutes, seconds=seconds), []
        while self.now < until:
            self.course.look(self.now, problems)
            if (decision := decide(self.now, self.course, self.reported, AFTER)) is not None:
                self.reported = decision.reported
                self.alerts.append(decision)
                reasons.append(decision.reason.value)
            self.now += LOOK
        return reasons


def test_green_from_the_start_is_not_reported() -> None:
    assert Watched().goes_on(GREEN, hours=100) == []


def test_red_that_lasts_is_reported_once_and_so_is_green() -> None:
    health = Watched()
    assert health.goes_on(CAPTURE, seconds=60) == []
    assert health.goes_on(CAPTURE, minutes=10) == ["red"]
    assert health.goes_on(GREEN, seconds=60) == []
    assert health.goes_on(GREEN, hours=50) == ["green"]


def test_short_red_is_not_reported() -> None:
    health = Watched()
    for _ in range(3):
        assert health.goes_on(CAPTURE, seconds=55) == []
        assert health.goes_on(GREEN, minutes=40) == []


def test_short_green_is_not_reported() -> None:
    health = Watched()
    health.goes_on(CAPTURE, minutes=2)
    assert health.goes_on(GREEN, seconds=55) == []
    assert health.goes_on(CAPTURE, minutes=2) == []
    assert health.goes_on(GREEN, minutes=2) == ["green"]


def test_second_red_soon_after_is_reported_once_as_unstable_until_it_is_steady() -> None:
    health = Watched()
    assert health.goes_on(CAPTURE, minutes=2) == ["red"]
    assert health.goes_on(GREEN, minutes=2) == ["green"]
    assert health.goes_on(CAPTURE, minutes=2) == ["unstable"]
    for _ in range(20):
        assert health.goes_on(GREEN, minutes=2) == []
        assert health.goes_on(CAPTURE, minutes=2) == []
    assert health.goes_on(GREEN, minutes=30) == []
    assert health.goes_on(GREEN, minutes=5) == ["green"]


def test_unstable_health_that_stays_red_is_reported_red() -> None:
    health = Watched()
    for problems in (CAPTURE, GREEN, CAPTURE, GREEN):
        health.goes_on(problems, minutes=2)
    assert health.reported.state is State.UNSTABLE
    assert health.goes_on(CAPTURE, minutes=29) == []
    assert health.goes_on(CAPTURE, minutes=5) == ["red"]


def test_red_after_a_quiet_hour_is_reported_as_the_first_one() -> None:
    health = Watched()
    for _ in range(3):
        assert health.goes_on(CAPTURE, minutes=2) == ["red"]
        assert health.goes_on(GREEN, hours=1) == ["green"]


def test_flapping_so_fast_that_nothing_lasts_is_reported_as_unstable() -> None:
    health = Watched()
    for _ in range(30):
        health.goes_on(CAPTURE, seconds=20)
        health.goes_on(GREEN, seconds=20)
    assert [each.reason for each in health.alerts] == [Reason.UNSTABLE]
    assert health.alerts[0].turned == 4


def test_another_problem_while_red_is_reported_after_a_pause() -> None:
    health = Watched()
    health.goes_on(TILL, minutes=2)
    assert health.goes_on(TILL + CAPTURE, minutes=3) == []
    assert health.goes_on(TILL + CAPTURE, minutes=30) == ["more"]
    assert health.reported.about == {*TILL, *CAPTURE}


def test_lost_capture_is_reported_though_an_endpoint_has_been_down_for_days() -> None:
    health = Watched()
    assert health.goes_on(TILL, hours=71) == ["red", "reminder", "reminder"]
    assert health.goes_on(TILL + CAPTURE, minutes=2) == ["more"]


def test_lost_capture_is_reported_though_an_endpoint_flaps() -> None:
    health = Watched()
    for problems in (TILL, GREEN, TILL, GREEN, TILL):
        health.goes_on(problems, minutes=2)
    assert health.reported.state is State.UNSTABLE
    assert health.goes_on(TILL + CAPTURE, minutes=10) == ["more"]


def test_ever_more_endpoints_are_reported_ever_more_seldom() -> None:
    health = Watched()
    reasons: list[str] = []
    for number in range(24 * 12):
        reasons += health.goes_on([f"endpoint:r{each}" for each in range(number + 1)], minutes=5)
    assert reasons[0] == "red"
    assert set(reasons[1:]) == {"more"}
    assert 5 <= len(reasons) <= 10


def test_problem_that_goes_while_another_stays_is_not_reported() -> None:
    health = Watched()
    health.goes_on(TILL + CAPTURE, minutes=2)
    assert health.goes_on(TILL, hours=2) == []


def test_next_daemon_reports_green_though_it_never_saw_red() -> None:
    before = Watched()
    before.goes_on(CAPTURE, minutes=2)
    assert Watched(before.reported).goes_on(GREEN, minutes=2) == ["green"]


def test_next_daemon_does_not_report_the_same_red_again() -> None:
    before = Watched()
    before.goes_on(CAPTURE, minutes=2)
    assert Watched(before.reported).goes_on(CAPTURE, hours=2) == []


def test_reason_of_each_alert_is_what_people_know_then() -> None:
    health = Watched()
    health.goes_on(CAPTURE, minutes=2)
    assert [each.reported.state for each in health.alerts] == [State.RED]
    assert health.alerts[0].reason is Reason.RED
