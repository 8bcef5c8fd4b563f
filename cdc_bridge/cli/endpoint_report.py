"""Endpoints on the terminal and as JSON. Neither has a secret or a header's value in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cdc_bridge.displays import print_styled, show, table
from cdc_bridge.endpoints.details import Count, ShownEndpoint
from cdc_bridge.endpoints.options import OPTIONS
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


def colour_of(endpoint: EndpointOverview) -> str:
    """Return the colour of an endpoint's status; one that a daemon may be about to take is no alarm yet."""
    return "yellow" if endpoint.settling else _COLOURS[endpoint.status]


def overview_as_json(endpoint: EndpointOverview) -> dict[str, Any]:
    """Return an endpoint's status."""
    return {
        "name": endpoint.name,
        "url": endpoint.url,
        "in_settings": endpoint.in_settings,
        "status": endpoint.status.value,
        "since": endpoint.since,
        "next_probe_at": endpoint.next_probe_at,
        "reason": endpoint.reason,
        "lag_reason": endpoint.lag_reason,
        "rate_limited_since": endpoint.rate_limited_since,
        "daemon": endpoint.daemon,
    }


def endpoint_as_json(shown: ShownEndpoint) -> dict[str, Any]:
    """Return everything of an endpoint that may be shown; what stands in a daemon's settings is ``null``."""
    record, figures = shown.record, shown.figures
    elsewhere = {option.json_key for option in OPTIONS.values() if option.secret and shown.overview.in_settings}
    return {
        **overview_as_json(shown.overview),
        **{key: None if key in elsewhere else value for key, value in record.options.items()},
        "created_at": record.created_at,
        "pending": _count_as_json(figures.pending),
        "dead": _count_as_json(figures.dead),
        "delivered_24h": _count_as_json(figures.delivered),
        "skipped": {reason.value: number for reason, number in record.skipped.items()},
        "backlog": _count_as_json(figures.backlog),
        "reconciled_at": record.reconciled_at,
        "reconciled_missing": record.reconciled_missing,
        "reconciled_stale": record.reconciled_stale,
    }


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
    show(table(dict.fromkeys(("name", "URL", "status", "since", "daemon", "reason"), "left"), rows))


def print_endpoint(shown: ShownEndpoint) -> None:
    """Print everything of one endpoint, a line each."""
    lines = list(_lines(shown))
    width = max(len(label) for label, _ in lines) + 2
    for label, value in lines:
        print_styled((f"{label:<{width}}", "bold"), value)


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


def _count_as_json(count: Count) -> dict[str, Any]:
    return {"number": count.number, "exact": count.exact}
