"""The figures that Prometheus reads.

No label has values without a bound: the only ones are endpoints' names, and an endpoint that is removed takes its
figures with it. What only has to be looked up when somebody asks (lag, backlog) is in
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
from cdc_bridge.model import DeliveryState

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LONG_SECONDS = (*_SECONDS, 300, 1800, 3600, 21_600, 86_400)

REGISTRY = CollectorRegistry()
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_CHANGES_READ = Counter(
    "cdc_bridge_changes_read", "Changes read of the change log, by endpoint", ["endpoint"], registry=REGISTRY
)
_DELIVERIES = Counter(
    "cdc_bridge_deliveries",
    "What deliveries came to, each time it was recorded; waiting: refused, to be tried again",
    ["endpoint", "outcome"],
    registry=REGISTRY,
)
_DELIVERY_SECONDS = Histogram(
    "cdc_bridge_delivery_seconds",
    "How long calls took, whatever came of them",
    ["endpoint"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
_COMMIT_TO_ACCEPTED_SECONDS = Histogram(
    "cdc_bridge_commit_to_accepted_seconds",
    "Time from a change to the 2xx of its call; the database's clock and this machine's should agree",
    ["endpoint"],
    buckets=_LONG_SECONDS,
    registry=REGISTRY,
)
RECONCILED = Gauge(
    "cdc_bridge_reconciled_reservations",
    "Reservations by how they stood when e-Res's rows were last compared with what was delivered",
    ["endpoint", "standing"],
    registry=REGISTRY,
)
RECONCILED_AT = Gauge(
    "cdc_bridge_reconciled_timestamp_seconds",
    "When e-Res's rows were last compared with what was delivered",
    ["endpoint"],
    registry=REGISTRY,
)
WAKE_UPS = Counter(
    "cdc_bridge_wake_ups",
    "What had the change log read: doorbell, safety read below it, open transaction (may commit unheard), polling",
    ["by"],
    registry=REGISTRY,
)
for _cause in ("doorbell", "safety read", "open transaction", "polling"):
    WAKE_UPS.labels(_cause)
DATABASE_RECONNECTS = Counter(
    "cdc_bridge_database_reconnects", "How often the database was there again after it had been lost", registry=REGISTRY
)
_OF_ENDPOINTS = (_CHANGES_READ, _DELIVERIES, _DELIVERY_SECONDS, _COMMIT_TO_ACCEPTED_SECONDS, RECONCILED, RECONCILED_AT)

Info("cdc_bridge_build", "Version of cdc-bridge and of Python", registry=REGISTRY).info(
    {"version": __version__, "python": platform.python_version()}
)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)


class EndpointMetrics:
    """One endpoint's figures, ready to be counted up."""

    def __init__(self, endpoint: str) -> None:
        self.changes_read = _CHANGES_READ.labels(endpoint)
        self.outcomes = {state: _DELIVERIES.labels(endpoint, state.value) for state in DeliveryState}
        self.delivery_seconds = _DELIVERY_SECONDS.labels(endpoint)
        self.commit_to_accepted_seconds = _COMMIT_TO_ACCEPTED_SECONDS.labels(endpoint)


def forget_endpoint(endpoint: str) -> None:
    """Have no figures any more of an endpoint that was removed."""
    for metric in _OF_ENDPOINTS:
        metric.remove_by_labels({"endpoint": endpoint})


def exposition(collector: Collector) -> bytes:
    """Return all figures in Prometheus' text format.

    Args:
        collector: has those that are looked up when somebody asks.
    """
    REGISTRY.register(collector)
    try:
        return generate_latest(REGISTRY)
    finally:
        REGISTRY.unregister(collector)
