"""What ``status`` prints, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cdc_bridge.checks.verdict import Verdict
from cdc_bridge.cli.endpoint_report import colour_of
from cdc_bridge.displays import Columns, Display, Piece, line, table
from cdc_bridge.endpoints.status import EndpointStatus, age

if TYPE_CHECKING:
    from cdc_bridge.checks.status import Status
    from cdc_bridge.checks.verdict import Check
    from cdc_bridge.endpoints.overview import EndpointOverview

_MARKS = {Verdict.OK: ("✓", "green"), Verdict.WARNING: ("!", "yellow"), Verdict.FAILED: ("✗", "red")}
_LONG_OPEN_SECONDS = 5.0
_COLUMNS: Columns = {
    "endpoint": "left",
    "status": "left",
    "lag": "right",
    "backlog": "right",
    "pending": "right",
    "dead": "right",
    "in flight": "right",
    "per second": "right",
    "last success": "right",
    "last failure": "left",
    "daemon": "left",
}

_BELOW = ("last failure", "daemon", "per second", "in flight", "last success", "dead", "pending", "backlog", "lag")
"""What stands below its row first where there is no room."""


def status_display(status: Status) -> list[Display]:
    """Return it for people."""
    lines = [*_check(status.capture), _wake_up(status), _writer(status)]
    for check in status.secrets:
        lines += _check(check)
    if status.alert is not None:
        lines.append(
            line(("! ", "yellow"), ("alerts   ", "bold"), f"not sent by {status.alert.daemon}: {status.alert.problem}")
        )
    return [*lines, line(), *_endpoints(status)]


def _check(check: Check) -> Iterator[Display]:
    mark, colour = _MARKS[check.verdict]
    yield line((f"{mark} ", colour), (f"{check.name:<8} ", "bold"), check.detail)
    if check.remedy:
        yield line(f"    -> {check.remedy}")


def _wake_up(status: Status) -> Display:
    polling = [daemon.name for daemon in status.daemons if not daemon.listening]
    if not status.daemons:
        return line(("- ", ""), ("wake-up  ", "bold"), "no endpoint is assigned to a daemon")
    if polling:
        gets = "gets" if len(polling) == 1 else "get"
        return line(("! ", "yellow"), ("wake-up  ", "bold"), f"{', '.join(polling)} {gets} no notifications and polls")
    return line(("✓ ", "green"), ("wake-up  ", "bold"), "notifications arrive")


def _writer(status: Status) -> Display:
    writer = status.writer
    open_for = None if writer is None or writer.since is None else (status.at - writer.since).total_seconds()
    if writer is None or (open_for is not None and open_for < _LONG_OPEN_SECONDS):
        return line(("✓ ", "green"), ("held back", "bold"), " by nobody")
    waits = "repairs wait for it"
    if writer.database in {None, status.database}:
        waits = f"what it wrote comes when it commits, and {waits}"
    if open_for is None:  # Most often it is short, and no reason to worry anybody.
        waits += " (since when, only a member of pg_read_all_stats sees)"
    return line(("- ", "") if open_for is None else ("! ", "yellow"), ("held back", "bold"), f" by {writer}: {waits}")


def _endpoints(status: Status) -> Iterator[Display]:
    survey = status.survey
    if not survey.number:
        yield line("There is no endpoint: cdc-bridge endpoint add till https://till.example/reservations")
        return
    some = len(status.endpoints) < survey.number
    if some:
        yield line((f"{survey.number:,} endpoints: ", "bold"), survey.counted)
        daemons = (f"{daemon.endpoints:,} by {daemon.name}" for daemon in status.daemons)
        yield line(("Delivered to: ", "bold"), ", ".join(daemons) or "none")
    if status.endpoints:
        yield table(_COLUMNS, (_cells(endpoint, status.at) for endpoint in status.endpoints), _BELOW)
    elif some:
        yield line("None of them is in trouble.")
    if some:
        more = (
            f"{status.left_out:,} more are in trouble: cdc-bridge endpoint list --order trouble. "
            if status.left_out
            else ""
        )
        yield line(f"{more}To show all: --all")


def _cells(endpoint: EndpointOverview, at: datetime) -> tuple[Piece, ...]:
    return (
        endpoint.name,
        (_status(endpoint), colour_of(endpoint)),
        age(endpoint.lag_seconds or 0),
        "" if endpoint.backlog is None else f"{endpoint.backlog:,}",
        f"{endpoint.pending:,}",
        f"{endpoint.dead:,}",
        "" if endpoint.in_flight is None else str(endpoint.in_flight),
        "" if endpoint.deliveries_per_second is None else f"{endpoint.deliveries_per_second:.1f}",
        _ago(endpoint.last_success_at, at),
        _failure(endpoint, at),
        endpoint.daemon or "",
    )


def _status(endpoint: EndpointOverview) -> str:
    if endpoint.status in {EndpointStatus.FAILING, EndpointStatus.DEGRADED}:  # The last failure says why.
        probe = endpoint.next_probe_at
        text = str(endpoint.status) if probe is None else f"failing, next attempt {probe.astimezone():%H:%M:%S}"
        return f"{text}, {endpoint.lag_reason}" if endpoint.lag_reason else text
    return endpoint.sentence()


def _failure(endpoint: EndpointOverview, at: datetime) -> str:
    if endpoint.last_failure_at is None:
        return ""
    return f"{_ago(endpoint.last_failure_at, at)}: {endpoint.last_failure}"


def _ago(then: datetime | None, at: datetime) -> str:
    return "" if then is None else f"{age(at - then)} ago"


def status_as_json(status: Status) -> dict[str, Any]:
    """Return it for machines."""
    writer = status.writer
    return {
        "at": status.at,
        "capture": status.capture.as_json(),
        "secrets": [check.as_json() for check in status.secrets],
        "oldest_writer": None
        if writer is None
        else {
            "pid": writer.pid,
            "role": writer.role,
            "database": writer.database,
            "since": writer.since,
            "prepared_name": writer.prepared_name,
        },
        "failing_alert": None if status.alert is None else asdict(status.alert),
        "endpoints": [_endpoint_as_json(endpoint) for endpoint in status.endpoints],
    }


def _endpoint_as_json(endpoint: EndpointOverview) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "status": endpoint.status.value,
        "since": endpoint.since,
        "next_probe_at": endpoint.next_probe_at,
        "reason": endpoint.reason,
        "daemon": endpoint.daemon,
        "notifications_received": endpoint.listening,
        "lag_seconds": None if endpoint.backlog is None else endpoint.lag_seconds or 0.0,
        "lag_reason": endpoint.lag_reason,
        "rate_limited_since": endpoint.rate_limited_since,
        "backlog": endpoint.backlog,
        "pending": endpoint.pending,
        "dead": endpoint.dead,
        "in_flight": endpoint.in_flight,
        "deliveries_per_second": endpoint.deliveries_per_second,
        "last_success_at": endpoint.last_success_at,
        "last_failure_at": endpoint.last_failure_at,
        "last_failure": endpoint.last_failure,
    }
