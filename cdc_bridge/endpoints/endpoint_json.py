"""Endpoints as JSON, for commands and the HTTP API. It has no secret and no header's value in it."""

from __future__ import annotations

from typing import Any

from cdc_bridge.endpoints.details import Count, ShownEndpoint
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.endpoints.overview import EndpointOverview


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


def _count_as_json(count: Count) -> dict[str, Any]:
    return {"number": count.number, "exact": count.exact}
