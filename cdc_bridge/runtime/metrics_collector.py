"""Metrics that are collected when Prometheus scrapes: what the database knows, and the daemon's present state.

As long as there are no more endpoints than may have series of their own (:mod:`cdc_bridge.metrics`), each has them here
too. Of more, some of each kind of trouble have them, for as long as they are in trouble, and all others share those of
``_others``. Each statement about them is made such that an alert that some endpoint would raise is raised by one of
those that are named or by all others together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.endpoints.survey import OtherEndpoints
from cdc_bridge.metrics import OTHERS
from cdc_bridge.runtime.health import HealthSnapshot
from cdc_bridge.runtime.readiness import Part


def _timestamp(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


_PER_ENDPOINT: tuple[
    tuple[str, str, Callable[[EndpointOverview], float | None], Callable[[OtherEndpoints], float | None]], ...
] = (
    (
        "cdc_bridge_lag_seconds",
        "Age of the oldest change that is unread or pending, 0 if there is none; of _others, the longest of all in use",
        lambda endpoint: None if endpoint.backlog is None else endpoint.lag_seconds or 0.0,
        lambda others: others.lag_seconds,
    ),
    (
        "cdc_bridge_backlog_changes",
        "Changes unread or pending, an estimate from 10,000 on; of _others, the largest",
        lambda endpoint: endpoint.backlog,
        lambda others: others.backlog,
    ),
    (
        "cdc_bridge_pending_deliveries",
        "Deliveries queued or retrying, counted up to 10,000; of _others, all together",
        lambda endpoint: endpoint.pending,
        lambda others: others.pending,
    ),
    (
        "cdc_bridge_dead_deliveries",
        "Dead letters in the delivery log, counted up to 10,000; of _others, all together",
        lambda endpoint: endpoint.dead,
        lambda others: others.dead,
    ),
    (
        "cdc_bridge_last_success_timestamp_seconds",
        "Time of the last attempt with a 2xx response; of _others, the latest",
        lambda endpoint: _timestamp(endpoint.last_success_at),
        lambda others: _timestamp(others.last_success_at),
    ),
    (
        "cdc_bridge_last_failure_timestamp_seconds",
        "Time of the last failed attempt; of _others, the latest",
        lambda endpoint: _timestamp(endpoint.last_failure_at),
        lambda others: _timestamp(others.last_failure_at),
    ),
)
_PER_LEASED: tuple[tuple[str, str, Callable[[EndpointState], float]], ...] = (
    (
        "cdc_bridge_breaker_open",
        "1 while an endpoint's breaker is open or its probes fail, else 0; of _others, how many; from its daemon",
        lambda state: state.failing_since is not None,
    ),
    (
        "cdc_bridge_rate_limited",
        "1 while requests to an endpoint wait for its max_per_second, else 0; of _others, how many; from its daemon",
        lambda state: state.rate_limited_since is not None,
    ),
    (
        "cdc_bridge_in_flight_requests",
        "Requests in flight to an endpoint; of _others, all together; from its daemon",
        lambda state: state.in_flight,
    ),
)


class HealthCollector(Collector):
    """Shows a health snapshot as metrics. Breaker and requests come from the daemon that leases the endpoint."""

    def __init__(self, snapshot: HealthSnapshot) -> None:
        self._snapshot = snapshot
        self._others = None if snapshot.survey is None or snapshot.has_all else snapshot.survey.others

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
            "1 for the status that the endpoint has, 0 for the others; of _others, how many have it",
            ["endpoint", "status"],
            self._statuses(),
        )
        for name, text, value_of, value_of_others in _PER_ENDPOINT:
            values = [([endpoint.name], value_of(endpoint)) for endpoint in snapshot.endpoints]
            if self._others is not None:
                values.append(([OTHERS], value_of_others(self._others)))
            yield _labelled(name, text, ["endpoint"], ((label, value) for label, value in values if value is not None))
        states = [(one.endpoint.name, one.state) for one in snapshot.leased]
        named = None if self._others is None else {endpoint.name for endpoint in snapshot.endpoints}
        for name, text, value_of_state in _PER_LEASED:
            yield _labelled(name, text, ["endpoint"], _summed(states, value_of_state, named))

    def _statuses(self) -> Iterator[tuple[list[str], float]]:
        for endpoint in self._snapshot.endpoints:
            for status in EndpointStatus:
                yield [endpoint.name, status.value], endpoint.status is status
        if self._others is not None:
            for status in EndpointStatus:
                yield [OTHERS, status.value], self._others.by_status.get(status, 0)


def _summed(
    states: Iterable[tuple[str, EndpointState]],
    value_of: Callable[[EndpointState], float],
    named: Collection[str] | None,
) -> Iterator[tuple[list[str], float]]:
    """Yield the values of endpoints, those that are not named together; ``None``: all are named."""
    together = 0.0
    for name, state in states:
        if named is None or name in named:
            yield [name], value_of(state)
        else:
            together += value_of(state)
    if named is not None:
        yield [OTHERS], together


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _labelled(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, float(value))
    return family
