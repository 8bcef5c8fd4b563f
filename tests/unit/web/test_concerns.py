"""The sentence on top of the dashboard, and the list below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cdc_bridge.deliveries.bookings import Booking
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.endpoints.survey import EndpointSurvey, OtherEndpoints
from cdc_bridge.runtime.health import HealthSnapshot
from cdc_bridge.runtime.readiness import Part, Problem
from cdc_bridge.web.concerns import Concern, Tone, Words, concerns_of
from cdc_bridge.web.endpoint_words import figure_of
from cdc_bridge.web.filters import field_time, with_times
from cdc_bridge.web.summary import summary_of
from tests.support.overviews import endpoint_overview

NOW = datetime(2026, 6, 1, 18, 30, tzinfo=UTC)
SINCE = datetime(2026, 6, 1, 18, 5, tzinfo=UTC)
MAX_LAG = 60.0
NOBODY = OtherEndpoints({}, 0.0, 0, 0, 0, None, None)


def snapshot(
    endpoints: Sequence[EndpointOverview], *problems: Problem, up: bool = True, number: int | None = None
) -> HealthSnapshot:
    number = len(endpoints) if number is None else number
    by_status = {status: sum(one.status is status for one in endpoints) for status in EndpointStatus}
    by_status[EndpointStatus.HEALTHY] += number - len(endpoints)
    survey = EndpointSurvey(by_status, {}, 0, 0, (), NOBODY, 0, ())
    return HealthSnapshot(survey if up else None, endpoints, problems, up, (), 0, listening=True)


def endpoint(status: str = "healthy", **changes: Any) -> EndpointOverview:
    return endpoint_overview(
        status=EndpointStatus(status), read_at=NOW, **{"last_success_at": NOW - timedelta(minutes=2)} | changes
    )


def text(words: Words) -> str:
    return "".join(word if isinstance(word, str) else f"{word:%H:%M}" for word in words)


def summary(*endpoints: EndpointOverview, **more: Any) -> tuple[str, str]:
    found = summary_of(snapshot(endpoints, **more), MAX_LAG, NOW)
    return found.tone, text(found.words)


@pytest.mark.parametrize(
    ("endpoints", "tone", "expected"),
    [
        ([endpoint()], "good", "All bookings reach the till. Last delivery 2 min ago."),
        ([endpoint(), endpoint(name="bar")], "good", "All bookings reach all 2 endpoints. Last delivery 2 min ago."),
        ([endpoint(last_success_at=None)], "good", "Ready. The next booking goes to the till."),
        (
            [endpoint("failing", since=SINCE, unread=12)],
            "bad",
            "The till has taken no booking since 18:05. 12 changes to bookings are waiting; nothing is lost.",
        ),
        (
            [endpoint("failing", since=SINCE, unread=12, gets_everything=False), endpoint(name="bar")],
            "bad",
            "till has taken no booking since 18:05. Up to 12 changes to bookings are waiting; nothing is lost.",
        ),
        (
            [endpoint("paused", since=SINCE)],
            "warning",
            "Deliveries to the till are paused since 18:05. Nothing is lost.",
        ),
        (
            [endpoint("unassigned", since=SINCE, pending=1)],
            "bad",
            "No bridge delivers to the till since 18:05. 1 change to a booking is waiting; nothing is lost.",
        ),
        ([endpoint("disabled")], "bad", "The till asked for no more bookings. Nothing is lost."),
        ([endpoint("invalid")], "bad", "No request can be sent to the till. Nothing is lost."),
        (
            [endpoint("failing", unread=3), endpoint("paused", name="bar", unread=4), endpoint(name="grill")],
            "bad",
            "2 of 3 endpoints get no bookings at present. 7 changes to bookings are waiting; nothing is lost.",
        ),
        (
            [endpoint(lag_seconds=300.0, unread=5)],
            "warning",
            "Bookings reach the till late, by up to 5 min. 5 changes to bookings are waiting; nothing is lost.",
        ),
        (
            [endpoint(dead=1)],
            "warning",
            "Bookings reach the till, but some were rejected: see below. Last delivery 2 min ago.",
        ),
        (
            [endpoint("degraded", pending=2)],
            "warning",
            "Bookings reach the till, but some were rejected: see below. Last delivery 2 min ago.",
        ),
        ([], "warning", "Nothing is connected yet, so no booking is delivered."),
    ],
)
def test_sentence_on_top(endpoints: list[EndpointOverview], tone: str, expected: str) -> None:
    assert summary(*endpoints) == (tone, expected)


def test_thousands_that_are_paused_are_no_green_light_though_none_is_named() -> None:
    found = snapshot([], number=10_000)
    assert found.survey is not None
    by_status = {EndpointStatus.PAUSED: 3000, EndpointStatus.HEALTHY: 7000}
    others = replace(NOBODY, dead=50, last_success_at=NOW - timedelta(minutes=2))
    paused = replace(found, survey=replace(found.survey, by_status=by_status, others=others))
    top = summary_of(paused, MAX_LAG, NOW)
    words = "3,000 of 10,000 endpoints get no bookings at present. What they miss is kept."
    assert (top.tone, text(top.words)) == (Tone.WARNING, words)
    healthy = {EndpointStatus.HEALTHY: 10_000}
    dead = replace(found, survey=replace(found.survey, by_status=healthy, others=others))
    assert "some were rejected" in text(summary_of(dead, MAX_LAG, NOW).words)
    good = replace(dead, survey=replace(found.survey, by_status=healthy, others=replace(others, dead=0)))
    words = "All bookings reach all 10,000 endpoints. Last delivery 2 min ago."
    assert text(summary_of(good, MAX_LAG, NOW).words) == words


def test_one_rejected_booking_makes_the_others_not_late() -> None:
    rejects = endpoint("degraded", pending=1, lag_seconds=3600.0)
    assert "but some were rejected" in summary(rejects)[1]
    assert figure_of(rejects, NOW, MAX_LAG).meaning == "to be tried again"


def test_endpoint_that_is_being_taken_over_is_no_alarm() -> None:
    settling = endpoint("unassigned", since=NOW - timedelta(seconds=2))
    assert summary(settling)[0] == "good"
    assert concerns_of(snapshot([settling]), MAX_LAG) == []


def test_nothing_is_claimed_while_the_database_is_lost_or_changes_are_not_captured() -> None:
    assert summary(endpoint(), up=False)[0] == "bad"
    missing = Problem(Part.CAPTURE, "the trigger is missing", "", "cdc-bridge install", since=SINCE)
    found = summary_of(snapshot([endpoint()], missing), MAX_LAG, NOW)
    assert (found.tone, "Not all bookings" in text(found.words)) == (Tone.BAD, True)
    (concern,) = concerns_of(snapshot([endpoint()], missing), MAX_LAG)
    assert (text(concern.words), concern.command) == ("The trigger is missing. Since 18:05.", "cdc-bridge install")


def concerns(*endpoints: EndpointOverview) -> list[Concern]:
    return concerns_of(snapshot(endpoints), MAX_LAG)


def test_worst_comes_first_and_says_what_can_be_done() -> None:
    found = concerns(
        endpoint("paused", name="bar", since=SINCE, unread=3),
        endpoint("failing", reason="HTTP 503", since=SINCE, unread=12),
        endpoint(name="grill", dead=2),
    )
    assert [concern.tone for concern in found] == ["bad", "warning", "warning"]
    failing, paused, dead = found
    assert (failing.detail, [action.label for action in failing.actions]) == (
        "HTTP 503",
        ["Try now", "Send a test request", "Show the 12"],
    )
    assert [(action.path, action.at_once) for action in paused.actions] == [
        ("/endpoints/bar/resume", True),
        ("/deliveries?endpoint=bar&state=queued", False),
    ]
    assert [action.path for action in dead.actions] == [
        "/deliveries?endpoint=grill&state=dead",
        "/endpoints/grill/resend?state=dead",
    ]


@pytest.mark.parametrize("status", [status for status in EndpointStatus if status is not EndpointStatus.HEALTHY])
def test_each_status_but_healthy_is_a_concern_with_its_reason(status: EndpointStatus) -> None:
    concern = concerns(endpoint(status, reason="so it is"))[0]
    assert text(concern.words)
    assert concern.detail in {"so it is", ""}
    assert all(action.changes for action in concern.actions if action.at_once)


def test_healthy_one_without_a_backlog_is_none() -> None:
    assert concerns(endpoint()) == []
    assert len(concerns(endpoint(lag_seconds=61.0, unread=1))) == 1
    assert len(concerns(endpoint(reconciled_missing=2, reconciled_stale=1))) == 1


def test_more_in_trouble_than_are_named_are_counted() -> None:
    found = snapshot([endpoint("failing")], number=10_000)
    assert found.survey is not None
    found = replace(found, survey=replace(found.survey, number_in_trouble=31))
    assert text(concerns_of(found, MAX_LAG)[-1].words) == "30 more endpoints are in trouble."


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("2 min", "since the last delivery")),
        ({"last_success_at": None}, ("0", "delivered so far")),
        ({"status": "failing", "unread": 1200}, ("1,200", "not delivered yet")),
        ({"status": "failing", "unread": 12, "gets_everything": False}, ("≤ 12", "not delivered yet")),
        ({"status": "degraded", "pending": 3}, ("3", "to be tried again")),
        ({"dead": 2}, ("2", "given up")),
    ],
)
def test_figure_that_matters(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    found = figure_of(endpoint(**changes), NOW, MAX_LAG)
    assert (found.value, found.meaning) == expected


def test_times_in_a_text_are_marked_and_everything_else_is_escaped() -> None:
    assert with_times("until 2026-12-01 14:08:08 UTC, <b>\x1b") == (
        'until <time datetime="2026-12-01T14:08:08Z">2026-12-01 14:08:08 UTC</time>, &lt;b&gt;\\u001b'
    )
    assert field_time("2026-07-01T18:30:00Z") == field_time("2026-07-01T19:30+01:00") == "2026-07-01T18:30"
    assert field_time("soon") == "soon"


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        ("murt", True),
        ("GRAHAM M", True),
        ("920", True),
        ("92", False),
        ("kernow", True),
        ("0000 123", True),
        ("12", False),
    ],
)
def test_booking_is_found_by_name_reference_and_contact(sought: str, found: bool) -> None:  # noqa: FBT001
    booking = Booking("920", "Mr Graham Murt", None, 2, "1", ["graham@kernow.example", "07000 000123"])
    assert booking.matches(sought) is found
