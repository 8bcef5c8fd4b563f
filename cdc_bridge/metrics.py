"""Prometheus metrics that count as the daemon works.

Every label has a bounded set of values: endpoint names are the only ones that grow, and the series of an endpoint end
when it is removed. What the database is asked for at each scrape (status, lag, backlog) is in
:mod:`cdc_bridge.runtime.metrics_collector`.
"""

from __future__ import annotations

import platform

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from cdc_bridge import __version__
from cdc_bridge.model import DeliveryState, SkipReason

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LONG_SECONDS = (*_SECONDS, 300, 1800, 3600, 21_600, 86_400)

REGISTRY = CollectorRegistry()
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_CHANGES_READ = Counter(
    "cdc_bridge_changes_read", "Changes read from the change log, by endpoint", ["endpoint"], registry=REGISTRY
)
_DELIVERIES = Counter(
    "cdc_bridge_deliveries",
    "Deliveries by the state that was recorded; retrying counts each rejected attempt",
    ["endpoint", "state"],
    registry=REGISTRY,
)
_SKIPPED = Counter("cdc_bridge_skipped", "Deliveries skipped, by the reason", ["endpoint", "reason"], registry=REGISTRY)
_REQUEST_SECONDS = Histogram(
    "cdc_bridge_request_duration_seconds",
    "Duration of requests, whatever their outcome",
    ["endpoint"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
_COMMIT_TO_DELIVERED_SECONDS = Histogram(
    "cdc_bridge_commit_to_delivered_seconds",
    "Time from a change to the 2xx response for it; assumes that the clocks of database and daemon agree",
    ["endpoint"],
    buckets=_LONG_SECONDS,
    registry=REGISTRY,
)
RECONCILED = Gauge(
    "cdc_bridge_reconciled_reservations",
    "Reservations by the state in which the last reconcile found them",
    ["endpoint", "state"],
    registry=REGISTRY,
)
RECONCILED_AT = Gauge(
    "cdc_bridge_reconciled_timestamp_seconds", "Time of the last reconcile", ["endpoint"], registry=REGISTRY
)
WAKE_UPS = Counter(
    "cdc_bridge_wake_ups",
    "Reads of the change log by their cause; open transaction: one that may commit without a notification",
    ["by"],
    registry=REGISTRY,
)
for _cause in ("notification", "safety read", "open transaction", "polling"):
    WAKE_UPS.labels(_cause)
DATABASE_RECONNECTS = Counter(
    "cdc_bridge_database_reconnects", "Reconnects after the database was lost", registry=REGISTRY
)
REQUESTS_PUT_OFF = Counter(
    "cdc_bridge_requests_put_off",
    "Requests put off as the daemon ran out of descriptors, memory, threads or local ports",
    registry=REGISTRY,
)
_PER_ENDPOINT = (
    _CHANGES_READ,
    _DELIVERIES,
    _SKIPPED,
    _REQUEST_SECONDS,
    _COMMIT_TO_DELIVERED_SECONDS,
    RECONCILED,
    RECONCILED_AT,
)

Info("cdc_bridge_build", "Version of cdc-bridge and of Python", registry=REGISTRY).info(
    {"version": __version__, "python": platform.python_version()}
)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)


class EndpointMetrics:
    """The metrics of one endpoint, labelled."""

    def __init__(self, endpoint: str) -> None:
        self.changes_read = _CHANGES_READ.labels(endpoint)
        self.deliveries = {state: _DELIVERIES.labels(endpoint, state.value) for state in DeliveryState}
        self.skipped = {reason: _SKIPPED.labels(endpoint, reason.value) for reason in SkipReason}
        self.request_seconds = _REQUEST_SECONDS.labels(endpoint)
        self.commit_to_delivered_seconds = _COMMIT_TO_DELIVERED_SECONDS.labels(endpoint)


def forget_endpoint(endpoint: str) -> None:
    """End the series of an endpoint that was removed."""
    for metric in _PER_ENDPOINT:
        metric.remove_by_labels({"endpoint": endpoint})


def exposition(collector: Collector) -> bytes:
    """Return all metrics in Prometheus' text format.

    Args:
        collector: Has those that are collected at each scrape.
    """
    REGISTRY.register(collector)
    try:
        return generate_latest(REGISTRY)
    finally:
        REGISTRY.unregister(collector)
