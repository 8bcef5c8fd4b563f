"""Prometheus metrics that count as the daemon works.

Every label has a bounded set of values. An endpoint has series of its own if there are no more than a hundred endpoints
when the first of them is needed: when something is delivered to it. It keeps them until it is removed, so that nothing
counts backwards or ends when others are added. All other endpoints share the series of :data:`OTHERS`: the sum over all
endpoints is always the sum of all that was done.

What the database is asked for at each scrape (status, lag, backlog) is in :mod:`cdc_bridge.runtime.metrics_collector`.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

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

OWN_SERIES_UP_TO = 100
"""As long as there are no more endpoints, each has series of its own. They take some 30 kB of memory."""
OTHERS = "_others"
"""Value of the label ``endpoint`` for all that have none of their own; no endpoint can have this name."""

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
_RECONCILED = Gauge(
    "cdc_bridge_reconciled_reservations",
    "Reservations by the state in which the last reconcile found them; of _others, all together",
    ["endpoint", "state"],
    registry=REGISTRY,
)
_RECONCILED_AT = Gauge(
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
    _RECONCILED,
    _RECONCILED_AT,
)

Info("cdc_bridge_build", "Version of cdc-bridge and of Python", registry=REGISTRY).info(
    {"version": __version__, "python": platform.python_version()}
)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)


class EndpointMetrics:
    """The metrics of one endpoint, or of all others, labelled."""

    def __init__(self, label: str) -> None:
        self.changes_read = _CHANGES_READ.labels(label)
        self.deliveries = {state: _DELIVERIES.labels(label, state.value) for state in DeliveryState}
        self.skipped = {reason: _SKIPPED.labels(label, reason.value) for reason in SkipReason}
        self.request_seconds = _REQUEST_SECONDS.labels(label)
        self.commit_to_delivered_seconds = _COMMIT_TO_DELIVERED_SECONDS.labels(label)


class Series:
    """Says which series an endpoint is counted in."""

    def __init__(self) -> None:
        self.number_of_endpoints = 0
        """How many there are, as far as is known."""
        self._own: dict[str, EndpointMetrics | None] = {}
        self._of_others: EndpointMetrics | None = None
        self._reconciled_of_others: dict[str, Mapping[str, int]] = {}

    def of(self, endpoint: str) -> EndpointMetrics:
        """Return the metrics that an endpoint is counted in."""
        if self._label(endpoint) == OTHERS:
            self._of_others = self._of_others or EndpointMetrics(OTHERS)
            return self._of_others
        metrics = self._own[endpoint] = self._own[endpoint] or EndpointMetrics(endpoint)
        return metrics

    def reconciled(self, endpoint: str, counts: Mapping[str, int]) -> None:
        """Note what a reconcile has found.

        Args:
            endpoint: The endpoint's name.
            counts: Number of reservations by their state.
        """
        label = self._label(endpoint)
        before = self._reconciled_of_others.get(endpoint, {})
        if label == OTHERS:
            self._reconciled_of_others[endpoint] = counts
        for state, number in counts.items():
            gauge = _RECONCILED.labels(label, state)
            if label == OTHERS:
                gauge.inc(number - before.get(state, 0))
            else:
                gauge.set(number)
        _RECONCILED_AT.labels(label).set_to_current_time()

    def forget(self, endpoint: str) -> None:
        """End the series of an endpoint that was removed."""
        for state, number in self._reconciled_of_others.pop(endpoint, {}).items():
            _RECONCILED.labels(OTHERS, state).dec(number)
        if endpoint in self._own:
            del self._own[endpoint]
            for metric in _PER_ENDPOINT:
                metric.remove_by_labels({"endpoint": endpoint})

    def _label(self, endpoint: str) -> str:
        if endpoint not in self._own:
            if self.number_of_endpoints > OWN_SERIES_UP_TO or len(self._own) >= OWN_SERIES_UP_TO:
                return OTHERS
            self._own[endpoint] = None
        return endpoint


SERIES = Series()
"""Those of this process."""


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
