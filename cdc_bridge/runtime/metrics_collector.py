"""Metrics that are collected when Prometheus scrapes: what the database knows, and the daemon's present state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.runtime.health import HealthSnapshot
from cdc_bridge.runtime.readiness import Part


def _timestamp(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


_PER_ENDPOINT: tuple[tuple[str, str, Callable[[EndpointOverview], float | None]], ...] = (
    (
        "cdc_bridge_lag_seconds",
        "Age of the oldest change that is unread or pending; 0 if there is none",
        lambda endpoint: None if endpoint.backlog is None else endpoint.lag_seconds or 0.0,
    ),
    (
        "cdc_bridge_backlog_changes",
        "Changes unread or pending; an estimate from 100,000 on",
        lambda endpoint: endpoint.backlog,
    ),
    ("cdc_bridge_pending_deliveries", "Deliveries queued or retrying", lambda endpoint: endpoint.pending),
    ("cdc_bridge_dead_deliveries", "Dead letters in the delivery log", lambda endpoint: endpoint.dead),
    (
        "cdc_bridge_last_success_timestamp_seconds",
        "Time of the last attempt with a 2xx response",
        lambda endpoint: _timestamp(endpoint.last_success_at),
    ),
    (
        "cdc_bridge_last_failure_timestamp_seconds",
        "Time of the last failed attempt",
        lambda endpoint: _timestamp(endpoint.last_failure_at),
    ),
)


class HealthCollector(Collector):
    """Shows a health snapshot as metrics. Breaker and requests come from the daemon that leases the endpoint."""

    def __init__(self, snapshot: HealthSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        snapshot = self._snapshot
        yield _gauge("cdc_bridge_database_up", "1 if the database responds, else 0", snapshot.database_up)
        yield _gauge(
            "cdc_bridge_notifications_received",
            "1 if PostgreSQL's notifications arrive, 0 if the daemon polls",
            snapshot.listening,
        )
        found = {problem.part for problem in snapshot.problems}
        yield _labelled(
            "cdc_bridge_problem",
            "1 for each part for which /readyz reports a problem, else 0",
            ["part"],
            (([part.value], part in found) for part in Part),
        )
        yield _labelled(
            "cdc_bridge_endpoint_status",
            "1 for the status that the endpoint has, 0 for the others",
            ["endpoint", "status"],
            (
                ([endpoint.name, status.value], endpoint.status is status)
                for endpoint in snapshot.endpoints
                for status in EndpointStatus
            ),
        )
        for name, text, value_of in _PER_ENDPOINT:
            values = (([endpoint.name], value_of(endpoint)) for endpoint in snapshot.endpoints)
            yield _labelled(name, text, ["endpoint"], ((label, value) for label, value in values if value is not None))
        yield _labelled(
            "cdc_bridge_breaker_open",
            "1 while an endpoint's breaker is open or its probes fail, else 0; from the daemon that leases it",
            ["endpoint"],
            (([one.endpoint.name], one.pipeline.state.failing_since is not None) for one in snapshot.leased),
        )
        yield _labelled(
            "cdc_bridge_rate_limited",
            "1 while requests to an endpoint wait for its max_per_second, else 0; from the daemon that leases it",
            ["endpoint"],
            (([one.endpoint.name], one.pipeline.state.rate_limited_since is not None) for one in snapshot.leased),
        )
        yield _labelled(
            "cdc_bridge_in_flight_requests",
            "Requests in flight to an endpoint; from the daemon that leases it",
            ["endpoint"],
            (([one.endpoint.name], one.pipeline.state.in_flight) for one in snapshot.leased),
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _labelled(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, float(value))
    return family
