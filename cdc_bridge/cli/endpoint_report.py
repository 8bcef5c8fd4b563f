"""Endpoints on the terminal. No secret and no header's value is among what is printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdc_bridge.displays import print_labelled, show, table
from cdc_bridge.endpoints.details import ShownEndpoint
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus, when

_COLOURS = {
    EndpointStatus.HEALTHY: "green",
    EndpointStatus.DEGRADED: "yellow",
    EndpointStatus.FAILING: "red",
    EndpointStatus.PAUSED: "yellow",
    EndpointStatus.DISABLED: "red",
    EndpointStatus.UNASSIGNED: "red",
    EndpointStatus.INVALID: "red",
}

_BELOW = ("URL", "daemon", "reason", "since")
"""What stands below its row first where there is no room."""


def colour_of(endpoint: EndpointOverview) -> str:
    """Return the colour of an endpoint's status; one that a daemon may be about to take is no alarm yet."""
    return "yellow" if endpoint.settling else _COLOURS[endpoint.status]


def print_table(endpoints: Sequence[EndpointOverview]) -> None:
    """Print a line for each endpoint."""
    rows = (
        (
            endpoint.name,
            endpoint.url,
            (endpoint.status.value, colour_of(endpoint)),
            when(endpoint.since) or "",
            endpoint.daemon or "",
            endpoint.reasons,
        )
        for endpoint in endpoints
    )
    show(table(dict.fromkeys(("name", "URL", "status", "since", "daemon", "reason"), "left"), rows, _BELOW))


def print_endpoint(shown: ShownEndpoint) -> None:
    """Print everything of one endpoint, a line each."""
    print_labelled(_lines(shown))


def _lines(shown: ShownEndpoint) -> Iterator[tuple[str, str]]:
    overview, record, figures = shown.overview, shown.record, shown.figures
    yield "Name", overview.name + (" (declared in a daemon's settings)" if overview.in_settings else "")
    yield "Status", overview.sentence()
    if overview.daemon:
        yield "Daemon", overview.daemon
    yield from shown.option_lines()
    yield "Added", when(record.created_at) or ""
    yield "Backlog", f"{figures.backlog} (changes that are not in the delivery log yet)"
    yield "Pending", f"{figures.pending} (deliveries that are queued or retrying)"
    yield "Dead letters", str(figures.dead)
    yield "Delivered", f"{figures.delivered} in the last 24 hours"
    yield "Skipped", f"{record.told_skipped} (since it was added)"
    yield (
        "Reconciled",
        "never"
        if record.reconciled_at is None
        else f"{when(record.reconciled_at)}: {record.reconciled_missing} missing, {record.reconciled_stale} stale",
    )
