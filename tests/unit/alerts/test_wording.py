from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cdc_bridge.alerts.decision import Decision, Reason, Reported, State
from cdc_bridge.alerts.wording import problem_key, word_alert
from cdc_bridge.checks.verdict import failed
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.model import ReservationId, Seq
from cdc_bridge.runtime.readiness import Part, Problem, find_problems
from tests.support.overviews import NOON, endpoint_overview, endpoint_survey

RED = Decision(Reason.RED, Reported(State.RED), 1)
GUEST = "graham@example.org"


def failing(name: str, **changes: object) -> EndpointOverview:
    hour = NOON - timedelta(hours=1)
    one = endpoint_overview(name=name, status=EndpointStatus.FAILING, since=hour, reason="HTTP 503 Service Unavailable")
    return replace(one, **changes)  # type: ignore[arg-type]


def problems_of(*endpoints: EndpointOverview, **other: object) -> list[Problem]:
    survey = endpoint_survey(endpoints, 300)
    asked: dict[str, object] = {"database": None, "checks": (), "polling_because": None} | other
    return find_problems(endpoints=survey, max_lag_seconds=300, **asked)  # type: ignore[arg-type]


def text(*problems: Problem, decision: Decision = RED, lasted: timedelta | None = None) -> str:
    return word_alert(decision, problems, "eres (vm:7)", lasted).text


def test_failing_endpoint_is_named_with_meaning_reason_and_remedy() -> None:
    assert text(*problems_of(failing("till"))).splitlines() == [
        "cdc-bridge eres (vm:7) is in trouble.",
        "No reservations reach till. They are kept, and sent once it works again.",
        "- endpoint: till is failing: HTTP 503 Service Unavailable",
        "  To do: cdc-bridge endpoint show till",
    ]


def test_of_many_endpoints_the_first_five_are_named() -> None:
    told = text(*problems_of(*(failing(f"r{number}") for number in range(17))))
    assert "No reservations reach r0, r1, r2, r3, r4 and 12 more." in told
    assert "17 endpoints are failing" in told
    assert "r5" not in told


def test_message_is_short_enough_for_every_receiver() -> None:
    name = "n" * 63
    endpoints = [
        failing(f"{name[:-2]}{number:02}", status=status, reason="é" * 3000)
        for number, status in enumerate([EndpointStatus.FAILING, EndpointStatus.DISABLED, EndpointStatus.INVALID] * 5)
    ]
    told = text(*problems_of(*endpoints))
    assert "and 10 more problems" in told
    assert len(told.encode()) < 4096


def test_late_endpoint_is_named_without_the_reservation_that_is_late() -> None:
    late = endpoint_overview(
        name="bar",
        status=EndpointStatus.DEGRADED,
        pending=1,
        lag_seconds=7200.0,
        oldest_pending_seq=Seq(17),
        oldest_pending_reservation=ReservationId(GUEST),
        oldest_pending_attempts=7,
        oldest_pending_error="HTTP 422",
    )
    problems = problems_of(late)
    assert GUEST in str(problems[0])
    assert text(*problems).splitlines()[1:] == ["Reservations reach bar late.", "- lag: bar is 2 h behind"]


def test_endpoint_that_is_failing_and_late_is_one_problem_to_people() -> None:
    problems = problems_of(failing("till", lag_seconds=400.0, unread=3))
    assert len(problems) == 2
    assert {problem_key(problem) for problem in problems} == {"endpoint:till"}
    assert "late" not in text(*problems)


def test_every_part_has_a_meaning_for_people() -> None:
    for part in set(Part) - {Part.ENDPOINT, Part.LAG, Part.ALERTS}:
        assert "eservation" in text(Problem(part, "is broken")).splitlines()[1], part


def test_lost_capture_says_that_reservations_have_to_be_sent_by_hand() -> None:
    check = failed("capture", "capture was switched off", "select cdc_bridge.enable_capture()")
    told = text(*problems_of(endpoint_overview(), checks=[check]))
    assert "have to be sent by hand" in told
    assert "To do: select cdc_bridge.enable_capture()" in told


def test_installation_without_endpoints() -> None:
    assert "as there is no endpoint" in text(*problems_of())


def test_green_says_for_how_long_it_was_red() -> None:
    green = Decision(Reason.GREEN, Reported(), 1)
    told = text(decision=green, lasted=timedelta(minutes=12))
    assert told == "cdc-bridge eres (vm:7) works again.\nReservations are sent. It was in trouble for 12 min."


def test_unstable_says_when_the_next_message_comes() -> None:
    unstable = Decision(Reason.UNSTABLE, Reported(State.UNSTABLE), 4)
    told = text(*problems_of(failing("till")), decision=unstable)
    assert "is in trouble again and again." in told
    assert "It was so 4 times lately. The next message comes when nothing has changed for 30 min." in told


def test_what_a_terminal_would_obey_is_escaped() -> None:
    told = text(Problem(Part.MAPPING, "column \x1b[2J\nis missing"))
    assert "\x1b" not in told
    assert "\\nis missing" in told


def test_keys_name_a_problem_as_long_as_it_lasts() -> None:
    now = datetime.now(UTC)
    one, later = (Problem(Part.LAG, f"till is {n} min behind", about="till", seen_since=now) for n in (5, 6))
    assert problem_key(one) == problem_key(later)
