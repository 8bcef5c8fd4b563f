"""What ``status`` prints, for people and as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cdc_bridge.checks.verdict import Verdict
from cdc_bridge.cli.endpoint_report import colour_of
from cdc_bridge.endpoints.status import EndpointStatus, age

if TYPE_CHECKING:
    from cdc_bridge.checks.status import Status
    from cdc_bridge.endpoints.overview import EndpointOverview

_MARKS = {Verdict.OK: ("✓", "green"), Verdict.WARNING: ("!", "yellow"), Verdict.FAILED: ("✗", "red")}
_LONG_OPEN_SECONDS = 5.0


def status_table(status: Status) -> RenderableType:
    """Return it for people."""
    mark, colour = _MARKS[status.capture.verdict]
    lines = [Text.assemble((f"{mark} ", colour), ("capture  ", "bold"), status.capture.detail)]
    if status.capture.remedy:
        lines.append(Text(f"    -> {status.capture.remedy}"))
    lines += [_wake_up(status), _writer(status)]
    return Group(*lines, Text(), _endpoints(status))


def _wake_up(status: Status) -> Text:
    assigned = [endpoint for endpoint in status.endpoints if endpoint.daemon is not None]
    polling = sorted({endpoint.daemon or "" for endpoint in assigned if endpoint.listening is False})
    if not assigned:
        return Text.assemble(("- ", ""), ("wake-up  ", "bold"), "no endpoint is assigned to a daemon")
    if polling:
        gets = "gets" if len(polling) == 1 else "get"
        return Text.assemble(
            ("! ", "yellow"), ("wake-up  ", "bold"), f"{', '.join(polling)} {gets} no notifications and polls"
        )
    return Text.assemble(("✓ ", "green"), ("wake-up  ", "bold"), "notifications arrive")


def _writer(status: Status) -> Text:
    writer = status.writer
    open_for = None if writer is None or writer.since is None else (status.at - writer.since).total_seconds()
    if writer is None or (open_for is not None and open_for < _LONG_OPEN_SECONDS):
        return Text.assemble(("✓ ", "green"), ("held back", "bold"), " by nobody")
    waits = "repairs wait for it"
    if writer.database in {None, status.database}:
        waits = f"what it wrote comes when it commits, and {waits}"
    if open_for is None:  # Most often it is short, and no reason to worry anybody.
        waits += " (since when, only a member of pg_read_all_stats sees)"
    return Text.assemble(
        ("- ", "") if open_for is None else ("! ", "yellow"), ("held back", "bold"), f" by {writer}: {waits}"
    )


def _endpoints(status: Status) -> RenderableType:
    if not status.endpoints:
        return Text("There is no endpoint: cdc-bridge endpoint add till https://till.example/reservations")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (
        "endpoint",
        "status",
        "lag",
        "backlog",
        "pending",
        "dead",
        "in flight",
        "per second",
        "last success",
    ):
        table.add_column(column, overflow="fold", justify="left" if column in {"endpoint", "status"} else "right")
    table.add_column("last failure", overflow="fold")
    table.add_column("daemon", overflow="fold")
    for endpoint in status.endpoints:
        table.add_row(
            Text(endpoint.name),
            Text(_status(endpoint), colour_of(endpoint)),
            age(endpoint.lag_seconds or 0),
            "" if endpoint.backlog is None else f"{endpoint.backlog:,}",
            f"{endpoint.pending:,}",
            f"{endpoint.dead:,}",
            "" if endpoint.in_flight is None else str(endpoint.in_flight),
            "" if endpoint.deliveries_per_second is None else f"{endpoint.deliveries_per_second:.1f}",
            _ago(endpoint.last_success_at, status.at),
            Text(_failure(endpoint, status.at)),
            Text(endpoint.daemon or ""),
        )
    return table


def _status(endpoint: EndpointOverview) -> str:
    if endpoint.status in {EndpointStatus.FAILING, EndpointStatus.DEGRADED}:  # The last failure says why.
        probe = endpoint.next_probe_at
        return str(endpoint.status) if probe is None else f"failing, next attempt {probe.astimezone():%H:%M:%S}"
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
        "oldest_writer": None
        if writer is None
        else {
            "pid": writer.pid,
            "role": writer.role,
            "database": writer.database,
            "since": writer.since,
            "prepared_name": writer.prepared_name,
        },
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
        "backlog": endpoint.backlog,
        "pending": endpoint.pending,
        "dead": endpoint.dead,
        "in_flight": endpoint.in_flight,
        "deliveries_per_second": endpoint.deliveries_per_second,
        "last_success_at": endpoint.last_success_at,
        "last_failure_at": endpoint.last_failure_at,
        "last_failure": endpoint.last_failure,
    }
