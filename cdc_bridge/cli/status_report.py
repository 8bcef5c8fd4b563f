"""What ``status`` prints, for people and as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cdc_bridge.checks.verdict import Verdict
from cdc_bridge.cli.endpoint_report import COLOURS
from cdc_bridge.endpoints.status import State

if TYPE_CHECKING:
    from cdc_bridge.checks.status import Status
    from cdc_bridge.endpoints.overview import EndpointNow
    from cdc_bridge.endpoints.status import EndpointStanding

_MARKS = {Verdict.OK: ("✓", "green"), Verdict.WARNING: ("!", "yellow"), Verdict.FAILED: ("✗", "red")}
_LONG_OPEN_SECONDS = 5.0


def status_table(status: Status) -> RenderableType:
    """Return it for people."""
    mark, colour = _MARKS[status.capture.verdict]
    lines = [Text.assemble((f"{mark} ", colour), ("capture  ", "bold"), status.capture.detail)]
    if status.capture.remedy:
        lines.append(Text(f"    -> {status.capture.remedy}"))
    lines += [_doorbell(status), _writer(status)]
    return Group(*lines, Text(), _endpoints(status))


def _doorbell(status: Status) -> Text:
    served = [endpoint for endpoint, _ in status.endpoints if endpoint.daemon is not None]
    polling = sorted({endpoint.daemon or "" for endpoint in served if endpoint.listening is False})
    if not served:
        return Text.assemble(("- ", ""), ("doorbell ", "bold"), "no daemon has an endpoint")
    if polling:
        return Text.assemble(("! ", "yellow"), ("doorbell ", "bold"), f"polled instead by {', '.join(polling)}")
    return Text.assemble(("✓ ", "green"), ("doorbell ", "bold"), "heard")


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
    for column in ("endpoint", "state", "lag", "backlog", "waiting", "dead", "in flight", "a second", "last success"):
        table.add_column(column, overflow="fold", justify="left" if column in {"endpoint", "state"} else "right")
    table.add_column("last failure", overflow="fold")
    table.add_column("daemon", overflow="fold")
    for endpoint, standing in status.endpoints:
        table.add_row(
            Text(endpoint.name),
            Text(_state(standing), COLOURS[standing.state]),
            _age(endpoint.lag_seconds),
            "" if endpoint.backlog is None else f"{endpoint.backlog:,}",
            f"{endpoint.waiting:,}",
            f"{endpoint.dead:,}",
            "" if endpoint.in_flight is None else str(endpoint.in_flight),
            "" if endpoint.deliveries_per_second is None else f"{endpoint.deliveries_per_second:.1f}",
            _ago(endpoint.last_success_at, status.at),
            Text(_failure(endpoint, status.at)),
            Text(endpoint.daemon or ""),
        )
    return table


def _state(standing: EndpointStanding) -> str:
    if standing.state is State.BACKING_OFF and standing.until is not None:
        return f"backing off until {standing.until.astimezone():%H:%M:%S}"  # Why stands in the last failure.
    return standing.sentence()


def _failure(endpoint: EndpointNow, at: datetime) -> str:
    if endpoint.last_failure_at is None:
        return ""
    return f"{_ago(endpoint.last_failure_at, at)}: {endpoint.last_failure}"


def _ago(then: datetime | None, at: datetime) -> str:
    return "" if then is None else f"{_age(max(0.0, (at - then).total_seconds()))} ago"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "0 s"
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} d"


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
        "endpoints": [_endpoint_as_json(endpoint, standing) for endpoint, standing in status.endpoints],
    }


def _endpoint_as_json(endpoint: EndpointNow, standing: EndpointStanding) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "state": standing.state.value,
        "since": standing.since,
        "until": standing.until,
        "reason": standing.reason,
        "daemon": endpoint.daemon,
        "doorbell_heard": endpoint.listening,
        "lag_seconds": None if endpoint.backlog is None else endpoint.lag_seconds or 0.0,
        "backlog": endpoint.backlog,
        "waiting": endpoint.waiting,
        "dead": endpoint.dead,
        "in_flight": endpoint.in_flight,
        "deliveries_per_second": endpoint.deliveries_per_second,
        "last_success_at": endpoint.last_success_at,
        "last_failure_at": endpoint.last_failure_at,
        "last_failure": endpoint.last_failure,
    }
