from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE, EndpointStatus
from cdc_bridge.model import ReservationId, Seq
from cdc_bridge.runtime.readiness import Part, Problem, find_problems
from tests.support.overviews import endpoint_overview, endpoint_survey

HEALTHY = endpoint_overview()
BEHIND = replace(
    HEALTHY, status=EndpointStatus.FAILING, unread=7, lag_seconds=400.0, reason="HTTP 503 Service Unavailable"
)
OLDEST = replace(
    HEALTHY,
    status=EndpointStatus.DEGRADED,
    pending=1,
    lag_seconds=7200.0,
    oldest_pending_seq=Seq(17),
    oldest_pending_reservation=ReservationId("R"),
    oldest_pending_attempts=7,
    oldest_pending_error="HTTP 422 Unprocessable Entity",
)
NO_PROBLEM: dict[str, Any] = {
    "database": None,
    "checks": (),
    "polling_because": None,
    "endpoints": (HEALTHY,),
    "max_lag_seconds": 300,
}


def found(**other: object) -> list[Problem]:
    asked: dict[str, Any] = NO_PROBLEM | other
    if asked["endpoints"] is not None:
        asked["endpoints"] = endpoint_survey(asked["endpoints"], asked["max_lag_seconds"])
    return find_problems(**asked)


def lines(**other: object) -> list[str]:
    return [str(problem) for problem in found(**other)]


def test_nothing_wrong_is_no_problem() -> None:
    assert lines(endpoints=[HEALTHY, replace(HEALTHY, lag_seconds=299.0)]) == []


def test_lag_is_reported_with_status_and_reason() -> None:
    assert lines(endpoints=[HEALTHY, BEHIND]) == [
        "lag: till is 7 min behind: failing, backlog 7: HTTP 503 Service Unavailable -> cdc-bridge endpoint show till"
    ]


def test_lag_of_a_limited_endpoint_names_the_limit() -> None:
    limited = replace(HEALTHY, unread=7, lag_seconds=400.0, rate_limited_since=HEALTHY.read_at, max_per_second=5.0)
    assert lines(endpoints=[limited]) == [
        (
            "lag: till is 7 min behind: healthy, limited to 5 requests a second, backlog 7 "
            "-> cdc-bridge endpoint show till"
        )
    ]


def test_lag_of_a_pending_delivery_names_it() -> None:
    assert lines(endpoints=[OLDEST]) == [
        (
            "lag: till is 2 h behind: degraded, backlog 1, oldest delivery of reservation R after 7 attempts: "
            "HTTP 422 Unprocessable Entity -> cdc-bridge delivery show 17"
        )
    ]


def test_delivery_that_was_queued_by_hand_is_reported_as_such() -> None:
    (problem,) = lines(endpoints=[replace(OLDEST, oldest_pending_attempts=1, oldest_pending_error=None)])
    assert "reservation R after 1 attempt: queued by hand" in problem


@pytest.mark.parametrize("status", [EndpointStatus.PAUSED, EndpointStatus.DISABLED])
def test_endpoint_that_somebody_stopped_may_lag(status: EndpointStatus) -> None:
    assert Part.LAG not in {problem.part for problem in found(endpoints=[replace(BEHIND, status=status)])}


def test_disabled_endpoint_is_a_problem() -> None:
    disabled = replace(HEALTHY, status=EndpointStatus.DISABLED, reason="it responded with 410")
    assert lines(endpoints=[disabled]) == [
        (
            "endpoint: till is disabled: it responded with 410 -> "
            "When its owner wants deliveries again: cdc-bridge endpoint resume till"
        )
    ]


@pytest.mark.parametrize("reason", ["ca_file names /nowhere", RESTORED_ELSEWHERE])
def test_invalid_endpoint_is_a_problem_before_anything_lags(reason: str) -> None:
    invalid = replace(HEALTHY, status=EndpointStatus.INVALID, reason=reason, unread=None)
    assert lines(endpoints=[invalid]) == [f"endpoint: till is invalid: {reason} -> cdc-bridge endpoint show till"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [(EndpointStatus.FAILING, "HTTP 503 Service Unavailable"), (EndpointStatus.UNASSIGNED, "no live daemon has it")],
)
def test_endpoint_that_is_failing_or_unassigned_for_long_is_a_problem_though_nothing_lags(
    status: EndpointStatus, reason: str
) -> None:
    def since(seconds: float) -> EndpointOverview:
        return replace(HEALTHY, status=status, reason=reason, since=HEALTHY.read_at - timedelta(seconds=seconds))

    (problem,) = found(endpoints=[since(301)])
    assert str(problem) == f"endpoint: till is {status}: {reason} -> cdc-bridge endpoint show till"
    assert problem.since == HEALTHY.read_at - timedelta(seconds=301)
    assert lines(endpoints=[since(299), replace(since(0), since=None)]) == []


def test_endpoint_between_two_daemons_is_no_problem_however_little_lag_is_allowed() -> None:
    handed_over = replace(HEALTHY, status=EndpointStatus.UNASSIGNED, since=HEALTHY.read_at - timedelta(seconds=5))
    assert lines(endpoints=[handed_over], max_lag_seconds=1) == []


def test_many_endpoints_with_the_same_problem_are_one_problem_and_a_few_are_named() -> None:
    reason = "capture is not attached to any table"
    invalid = [replace(HEALTHY, name=f"r{number}", status=EndpointStatus.INVALID, reason=reason) for number in range(6)]
    assert lines(endpoints=invalid) == [
        f"endpoint: 6 endpoints are invalid: such as r0: {reason} -> cdc-bridge endpoint list --status invalid"
    ]
    assert len(lines(endpoints=invalid[:5])) == 5


def test_many_endpoints_that_are_behind_are_one_problem_with_the_longest_lag() -> None:
    late = [replace(BEHIND, name=f"r{number}", lag_seconds=400.0 + 60 * number) for number in range(6)]
    (problem,) = lines(endpoints=late)
    assert problem.startswith("lag: 6 endpoints are behind, up to 12 min: such as r5: failing, backlog 7: HTTP 503")
    assert problem.endswith("-> cdc-bridge status")


def test_no_endpoint_is_a_problem_unless_the_database_is_lost() -> None:
    (problem,) = lines(endpoints=[])
    assert problem.startswith("endpoint: there is no endpoint, so nothing is delivered -> ")
    assert lines(endpoints=None, database="does not respond") == [
        "database: PostgreSQL does not respond -> cdc-bridge check on the daemon's machine says why."
    ]


def test_notifications_that_a_lost_connection_keeps_back_need_no_remedy() -> None:
    assert lines(polling_because="server closed the connection", reconnecting=True) == [
        "wake-up: notifications do not arrive yet: the connection was lost -> Nothing to do."
    ]


def test_failed_checks_are_problems_and_warnings_are_not() -> None:
    checks = [
        Check("capture", Verdict.FAILED, "capture is not attached to any table", "attach it"),
        Check("mapping", Verdict.WARNING, "in another order", "order them"),
        Check("installation", Verdict.OK, "schema version 1"),
    ]
    assert lines(checks=checks) == ["capture: capture is not attached to any table -> attach it"]


def test_every_part_can_have_a_problem() -> None:
    problems = found(
        database="does not respond",
        checks=[Check(name, Verdict.FAILED, "wrong") for name in ("installation", "mapping", "capture")],
        polling_because="LISTEN failed",
        endpoints=[BEHIND, replace(HEALTHY, status=EndpointStatus.DISABLED)],
        max_lag_seconds=300,
        out_of="this process ran out of memory",
        alerts="alert_url: HTTP 404 Not Found",
    )
    assert {problem.part for problem in problems} == set(Part)


def test_more_than_a_few_endpoints_with_one_problem_are_counted() -> None:
    disabled = replace(HEALTHY, name="old-till", status=EndpointStatus.DISABLED)
    assert [problem.summary for problem in found(endpoints=[disabled] * 5)] == ["old-till is disabled"] * 5
    assert [problem.summary for problem in found(endpoints=[disabled] * 6)] == ["6 endpoints are disabled"]
