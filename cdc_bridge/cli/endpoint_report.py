"""Endpoints on the terminal and as JSON. Neither has a secret or a header's value in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cdc_bridge.endpoints.details import Count, ShownEndpoint
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.endpoints.status import EndpointFacts, EndpointStanding, State, standing_of, when

_WIDE = 300  # where there is no terminal, a line is a line
COLOURS = {
    State.HEALTHY: "green",
    State.BACKING_OFF: "yellow",
    State.PAUSED: "yellow",
    State.DISABLED: "red",
    State.NO_DAEMON: "red",
    State.UNCALLABLE: "red",
}


def facts_as_json(facts: EndpointFacts) -> dict[str, Any]:
    """Return an endpoint's status."""
    status = standing_of(facts)
    return {
        "name": facts.name,
        "url": facts.shown_url,
        "in_settings": facts.in_settings,
        "status": status.state.value,
        "since": status.since,
        "until": status.until,
        "reason": status.reason,
        "daemon": facts.holder,
    }


def endpoint_as_json(shown: ShownEndpoint) -> dict[str, Any]:
    """Return everything of an endpoint that may be shown; what stands in a daemon's settings is ``null``."""
    record, figures = shown.record, shown.figures
    elsewhere = {option.json_key for option in OPTIONS.values() if option.secret and shown.facts.in_settings}
    return {
        **facts_as_json(shown.facts),
        **{key: None if key in elsewhere else value for key, value in record.options.items()},
        "created_at": record.created_at,
        "waiting": _count_as_json(figures.waiting),
        "dead": _count_as_json(figures.dead),
        "delivered_24h": _count_as_json(figures.delivered),
        "backlog": _count_as_json(figures.backlog),
        "reconciled_at": record.reconciled_at,
        "reconciled_missing": record.reconciled_missing,
        "reconciled_stale": record.reconciled_stale,
    }


def print_table(endpoints: Sequence[EndpointFacts]) -> None:
    """Print a line for each endpoint."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "URL", "status", "since, until", "daemon", "problem"):
        table.add_column(column, overflow="fold")
    for facts in endpoints:
        status = standing_of(facts)
        table.add_row(
            Text(facts.name),
            Text(facts.shown_url),
            Text(status.state.value, COLOURS[status.state]),
            Text(_times(status)),
            Text(facts.holder or ""),
            Text(status.reason or ("it answered 410" if status.state is State.DISABLED else "")),
        )
    _console().print(table)


def print_endpoint(shown: ShownEndpoint) -> None:
    """Print everything of one endpoint, a line each."""
    console = _console()
    lines = list(_lines(shown))
    width = max(len(label) for label, _ in lines) + 2
    for label, value in lines:
        console.print(Text(f"{label:<{width}}", "bold") + Text(value), soft_wrap=True)


def _lines(shown: ShownEndpoint) -> Iterator[tuple[str, str]]:
    facts, record, figures = shown.facts, shown.record, shown.figures
    yield "Name", facts.name + (" (declared in a daemon's settings)" if facts.in_settings else "")
    yield "Status", standing_of(facts).sentence()
    if facts.holder:
        yield "Daemon", facts.holder
    yield from shown.option_lines()
    yield "Added", when(record.created_at) or ""
    yield "Backlog", f"{figures.backlog} (changes that are not in the delivery log yet)"
    yield "Queued or retrying", f"{figures.waiting} (deliveries)"
    yield "Dead letters", str(figures.dead)
    yield "Delivered", f"{figures.delivered} in the last 24 hours"
    yield (
        "Reconciled",
        "never"
        if record.reconciled_at is None
        else f"{when(record.reconciled_at)}: {record.reconciled_missing} missing, {record.reconciled_stale} stale",
    )


def _times(status: EndpointStanding) -> str:
    times = [] if status.since is None else [f"since {when(status.since)}"]
    return ", ".join(times if status.until is None else [*times, f"until {when(status.until)}"])


def _count_as_json(count: Count) -> dict[str, Any]:
    return {"number": count.number, "exact": count.exact}


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)
