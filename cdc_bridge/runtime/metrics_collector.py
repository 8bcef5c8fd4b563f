"""The metrics that are looked up when Prometheus asks: what the database knows, and how things are at this moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cdc_bridge.endpoints.overview import EndpointNow
from cdc_bridge.runtime.health import Look
from cdc_bridge.runtime.readiness import Part


def _timestamp(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


_OF_ENDPOINTS: tuple[tuple[str, str, Callable[[EndpointNow], float | None]], ...] = (
    (
        "cdc_bridge_lag_seconds",
        "Age of the oldest change that is not settled; 0: there is none",
        lambda endpoint: None if endpoint.backlog is None else endpoint.lag_seconds or 0.0,
    ),
    (
        "cdc_bridge_backlog_changes",
        "Changes that are not settled: unread, or refused and tried again; an estimate from 100,000 on",
        lambda endpoint: endpoint.backlog,
    ),
    (
        "cdc_bridge_waiting_deliveries",
        "Deliveries that were refused and are tried again",
        lambda endpoint: endpoint.waiting,
    ),
    ("cdc_bridge_dead_deliveries", "Deliveries that were given up", lambda endpoint: endpoint.dead),
    (
        "cdc_bridge_endpoint_active",
        "1, or 0 where the endpoint is paused or disabled",
        lambda endpoint: float(endpoint.active),
    ),
    (
        "cdc_bridge_endpoint_served",
        "1, or 0 where no daemon has the endpoint",
        lambda endpoint: float(endpoint.daemon is not None),
    ),
    (
        "cdc_bridge_last_success_timestamp_seconds",
        "When a call was accepted last",
        lambda endpoint: _timestamp(endpoint.last_success_at),
    ),
    (
        "cdc_bridge_last_failure_timestamp_seconds",
        "When a call was refused last",
        lambda endpoint: _timestamp(endpoint.last_failure_at),
    ),
)


class HealthCollector(Collector):
    """Shows a look as metrics. Those of a daemon's own endpoints come from the daemon that has them alone."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        look = self._look
        yield _one("cdc_bridge_database_up", "1, or 0 where the database does not answer", look.database_up)
        yield _one("cdc_bridge_doorbell_listening", "1, or 0 where the daemon polls", look.listening)
        yield _by(
            "cdc_bridge_problem",
            "1 where /readyz is red for this part",
            "part",
            ((part.value, any(problem.part is part for problem in look.problems)) for part in Part),
        )
        for name, text, value_of in _OF_ENDPOINTS:
            values = ((endpoint.name, value_of(endpoint)) for endpoint in look.endpoints)
            yield _by(name, text, "endpoint", ((endpoint, value) for endpoint, value in values if value is not None))
        yield _by(
            "cdc_bridge_breaker_open",
            "1 while an endpoint of this daemon's backs off",
            "endpoint",
            ((held.endpoint.name, held.pipeline.state.failing_since is not None) for held in look.held),
        )
        yield _by(
            "cdc_bridge_in_flight_calls",
            "Calls under way to an endpoint of this daemon's",
            "endpoint",
            ((held.endpoint.name, held.pipeline.state.in_flight) for held in look.held),
        )


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _by(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for of, value in values:
        family.add_metric([of], float(value))
    return family
