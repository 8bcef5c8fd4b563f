"""Endpoints on the terminal and as JSON. Neither has a secret or a header's value in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cdc_bridge.endpoints.status import EndpointStatus, when

if TYPE_CHECKING:
    from cdc_bridge.endpoints.details import Count, ShownEndpoint
    from cdc_bridge.endpoints.overview import EndpointOverview

_WIDE = 300  # where there is no terminal, a line is a line
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
        "url": endpoint.shown_url,
        "in_settings": endpoint.in_settings,
        "status": endpoint.status.value,
        "since": endpoint.since,
        "next_probe_at": endpoint.next_probe_at,
        "reason": endpoint.reason,
        "daemon": endpoint.daemon,
    }


def endpoint_as_json(shown: ShownEndpoint) -> dict[str, Any]:
    """Return everything of an endpoint that may be shown; of one of the settings, what stands there is ``null``."""
    options, figures = shown.options, shown.figures
    return {
        **overview_as_json(shown.overview),
        "header_names": None if shown.overview.in_settings else list(options.header_names),
        "signed": None if shown.overview.in_settings else options.signed,
        "rotating_until": options.rotating_until,
        "max_in_flight": options.max_in_flight,
        "latest_only": options.latest_only,
        "timeout_seconds": options.timeout_seconds,
        "connect_timeout_seconds": options.connect_timeout_seconds,
        "ca_file": options.ca_file,
        "client_certificate_file": options.client_certificate_file,
        "client_key_file": options.client_key_file,
        "created_at": options.created_at,
        "waiting": _count_as_json(figures.waiting),
        "dead": _count_as_json(figures.dead),
        "delivered_24h": _count_as_json(figures.delivered),
        "backlog": _count_as_json(figures.backlog),
        "reconciled_at": options.reconciled_at,
        "reconciled_missing": options.reconciled_missing,
        "reconciled_stale": options.reconciled_stale,
    }


def print_table(endpoints: Sequence[EndpointOverview]) -> None:
    """Print a line for each endpoint."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "URL", "status", "since", "daemon", "reason"):
        table.add_column(column, overflow="fold")
    for endpoint in endpoints:
        table.add_row(
            Text(endpoint.name),
            Text(endpoint.shown_url),
            Text(endpoint.status.value, colour_of(endpoint)),
            Text(when(endpoint.since) or ""),
            Text(endpoint.daemon or ""),
            Text(endpoint.reason or ""),
        )
    _console().print(table)


def print_endpoint(shown: ShownEndpoint) -> None:
    """Print everything of one endpoint, a line each."""
    console = _console()
    for name, value in _lines(shown):
        console.print(Text(f"{name:<16}", "bold") + Text(value), soft_wrap=True)


def _lines(shown: ShownEndpoint) -> Iterator[tuple[str, str]]:
    overview, options, figures = shown.overview, shown.options, shown.figures
    yield "name", overview.name + (" (declared in a daemon's settings)" if overview.in_settings else "")
    yield "URL", overview.shown_url
    yield "status", overview.sentence()
    if overview.daemon:
        yield "daemon", overview.daemon
    if overview.in_settings:
        yield "headers", "in the settings"
        yield "signed", "as the settings say"
    else:
        yield "headers", ", ".join(f"{name}: ***" for name in options.header_names) or "none"
        yield "signed", _signed(signed=options.signed, rotating_until=options.rotating_until)
    yield "at once", f"at most {options.max_in_flight} calls"
    yield "time", f"{options.timeout_seconds:g} s a call, {options.connect_timeout_seconds:g} s a connection"
    yield "changes", "one call for several that wait" if options.latest_only else "one call each"
    yield "CA", options.ca_file or "the system's"
    if options.client_certificate_file:
        yield "certificate", f"{options.client_certificate_file} (key: {options.client_key_file or 'in it'})"
    yield "made", when(options.created_at) or ""
    yield "backlog", f"{figures.backlog} (changes in the log that are not in the ledger yet)"
    yield "waiting", f"{figures.waiting} (deliveries that were refused and are tried again)"
    yield "dead", f"{figures.dead} (deliveries that were given up)"
    yield "delivered", f"{figures.delivered} in the last 24 hours"
    yield (
        "reconciled",
        "never"
        if options.reconciled_at is None
        else f"{when(options.reconciled_at)}: {options.reconciled_missing} missing, {options.reconciled_stale} stale",
    )


def _signed(*, signed: bool, rotating_until: datetime | None) -> str:
    if not signed:
        return "no"
    return "yes" if rotating_until is None else f"yes, until {when(rotating_until)} with the secret before as well"


def _count_as_json(count: Count) -> dict[str, Any]:
    return {"number": count.number, "exact": count.exact}


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)
