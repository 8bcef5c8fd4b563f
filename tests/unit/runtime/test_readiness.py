from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.endpoints.overview import EndpointNow
from cdc_bridge.model import EndpointId, ReservationId, Seq
from cdc_bridge.runtime.readiness import Part, problems

WELL = EndpointNow(
    endpoint_id=EndpointId(1),
    name="till",
    state="healthy",
    since=None,
    problem=None,
    daemon="host:1",
    unread=0,
    waiting=0,
    dead=0,
    lag_seconds=None,
    in_flight=0,
    listening=True,
    deliveries_per_second=0.0,
    last_success_at=None,
    last_failure_at=None,
    last_failure=None,
    last_hour=LastHour(datetime(2026, 6, 1, 12, tzinfo=UTC)),
    reconciled_missing=None,
    reconciled_stale=None,
    oldest_waiting_seq=None,
    oldest_waiting_reservation=None,
    oldest_waiting_attempts=None,
    oldest_waiting_error=None,
)
BEHIND = replace(WELL, state="backing off", unread=7, lag_seconds=400.0, problem="HTTP 503 Service Unavailable")
ALL_WELL = {
    "database": None,
    "checks": (),
    "fallen_back": None,
    "endpoints": (WELL,),
    "max_lag_seconds": 300,
}


def told(**other: object) -> list[str]:
    return [str(problem) for problem in problems(**ALL_WELL | other)]  # type: ignore[arg-type]


def test_nothing_wrong_is_no_problem() -> None:
    assert told(endpoints=[WELL, replace(WELL, lag_seconds=299.0)]) == []


def test_lag_of_an_endpoint_is_told_with_its_reason_and_what_to_look_at() -> None:
    assert told(endpoints=[WELL, BEHIND]) == [
        (
            "lag: endpoint till (backing off) has 7 unsettled, the oldest since 0:06:40 h: "
            "HTTP 503 Service Unavailable -> cdc-bridge endpoint show till"
        )
    ]


def test_lag_of_a_delivery_that_waits_names_it() -> None:
    waits = replace(
        WELL,
        waiting=1,
        lag_seconds=7200.0,
        oldest_waiting_seq=Seq(17),
        oldest_waiting_reservation=ReservationId("R"),
        oldest_waiting_attempts=7,
        oldest_waiting_error="HTTP 422 Unprocessable Entity",
    )
    assert told(endpoints=[waits]) == [
        (
            "lag: endpoint till (healthy) has 1 unsettled, the oldest since 2:00:00 h: reservation R, 7 attempts, "
            "HTTP 422 Unprocessable Entity -> cdc-bridge delivery show 17"
        )
    ]


def test_delivery_that_was_asked_for_by_hand_is_told_as_such() -> None:
    replayed = replace(
        WELL,
        waiting=1,
        lag_seconds=400.0,
        oldest_waiting_seq=Seq(17),
        oldest_waiting_reservation=ReservationId("R"),
        oldest_waiting_attempts=1,
    )
    (problem,) = told(endpoints=[replayed])
    assert "reservation R, 1 attempts, asked for by hand" in problem


def test_paused_endpoint_may_lag() -> None:
    assert told(endpoints=[replace(BEHIND, state="paused")]) == []


def test_disabled_endpoint_is_told_once_and_not_for_its_lag() -> None:
    assert told(endpoints=[replace(BEHIND, state="disabled")]) == [
        (
            "endpoint: till answered 410 and is not called any more -> "
            "When it wants calls again: cdc-bridge endpoint resume till"
        )
    ]


def test_endpoint_that_cannot_be_called_is_told_before_anything_lags() -> None:
    assert told(endpoints=[replace(WELL, state="cannot be called", problem="its CA file is not there")]) == [
        "endpoint: till cannot be called: its CA file is not there -> cdc-bridge endpoint show till"
    ]


def test_restored_dump_is_told_though_what_is_unread_is_not_known() -> None:
    (problem,) = told(endpoints=[replace(WELL, state="of another cluster", unread=None)])
    assert problem.startswith("endpoint: till: this database was restored from a dump")
    assert "select cdc_bridge.adopt();" in problem


def test_no_endpoint_is_told_unless_nobody_knows() -> None:
    (problem,) = told(endpoints=[])
    assert problem.startswith("endpoint: there is none, so nothing is called -> ")
    assert told(endpoints=None, database="it does not answer") == [
        "database: it does not answer -> See that PostgreSQL runs."
    ]


def test_failed_checks_are_problems_and_warnings_are_not() -> None:
    checks = [
        Check("capture", Verdict.FAILED, "capture is not attached to any table", "attach it"),
        Check("mapping", Verdict.WARNING, "in another order", "order them"),
        Check("installation", Verdict.OK, "schema version 2"),
    ]
    assert told(checks=checks) == ["capture: capture is not attached to any table -> attach it"]


def test_each_part_is_told() -> None:
    found = problems(
        database="it did not answer",
        checks=[Check(name, Verdict.FAILED, "wrong") for name in ("installation", "mapping", "capture")],
        fallen_back="a ring of our own was not heard",
        endpoints=[BEHIND, replace(WELL, state="disabled")],
        max_lag_seconds=300,
    )
    assert {problem.part for problem in found} == set(Part)
