"""Which series endpoints are counted in, and what is collected of ten thousand of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cdc_bridge import metrics
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.metrics import OTHERS, OWN_SERIES_UP_TO, Series
from cdc_bridge.model import DeliveryState
from cdc_bridge.runtime.metrics_collector import HealthCollector
from tests.support.overviews import NO_ENDPOINT, NOBODY_ELSE, endpoint_overview, endpoint_survey

DELIVERED = DeliveryState.DELIVERED
OURS = ["a", "b", "c", OTHERS, *(f"n{number}" for number in range(200))]
"""Other tests of this process count as well."""


@pytest.fixture
def series() -> Iterator[Series]:
    """Series of a process with some endpoints, which end with the test."""
    series = Series()
    series.number_of_endpoints = 3
    yield series
    for name in OURS:
        for metric in metrics._PER_ENDPOINT:
            metric.remove_by_labels({"endpoint": name})


def shown(name: str, health: HealthCollector | None = None) -> dict[tuple[str, ...], float]:
    text = metrics.exposition(health or HealthCollector(NO_ENDPOINT)).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == name}


def delivered() -> dict[str, float]:
    found = shown("cdc_bridge_deliveries_total").items()
    return {endpoint: number for (endpoint, state), number in found if state == DELIVERED and endpoint in OURS}


def test_endpoint_that_nothing_was_delivered_to_has_no_series(series: Series) -> None:
    series.number_of_endpoints = 10
    assert "a" not in delivered()
    series.of("a")
    assert delivered()["a"] == 0


def test_series_go_on_when_endpoints_are_added_and_the_new_ones_share_one(series: Series) -> None:
    series.of("a").deliveries[DELIVERED].inc(5)
    series.number_of_endpoints = OWN_SERIES_UP_TO + 1
    series.of("a").deliveries[DELIVERED].inc()
    series.of("b").deliveries[DELIVERED].inc(2)
    series.of("c").deliveries[DELIVERED].inc(3)
    assert delivered() == {"a": 6, OTHERS: 5}
    series.number_of_endpoints = 3
    series.forget("b")
    series.of("c").deliveries[DELIVERED].inc()
    assert delivered() == {"a": 6, OTHERS: 5, "c": 1}, "what was counted stays counted"
    series.forget("a")
    assert delivered() == {OTHERS: 5, "c": 1}


def test_no_more_endpoints_than_the_limit_ever_have_series_of_their_own(series: Series) -> None:
    for number in range(200):
        series.of(f"n{number}").changes_read.inc()
    read = {name: number for (name,), number in shown("cdc_bridge_changes_read_total").items() if name in OURS}
    assert len(read) == OWN_SERIES_UP_TO + 1
    assert read[OTHERS] == 200 - OWN_SERIES_UP_TO


def test_what_the_last_reconciles_of_many_endpoints_found_is_summed_up(series: Series) -> None:
    name = "cdc_bridge_reconciled_reservations"
    series.reconciled("a", {"missing": 1, "in_sync": 7})
    series.number_of_endpoints = OWN_SERIES_UP_TO + 1
    series.reconciled("a", {"missing": 0, "in_sync": 8})
    series.reconciled("b", {"missing": 2, "in_sync": 3})
    series.reconciled("c", {"missing": 3, "in_sync": 3})
    assert shown(name)["a", "missing"] == 0
    assert shown(name)[OTHERS, "missing"] == 5
    series.reconciled("b", {"missing": 0, "in_sync": 5})
    assert (shown(name)[OTHERS, "missing"], shown(name)[OTHERS, "in_sync"]) == (3, 8)
    series.forget("c")
    assert (shown(name)[OTHERS, "missing"], shown(name)[OTHERS, "in_sync"]) == (0, 5)


def test_of_many_endpoints_those_in_trouble_are_named_and_the_others_are_together() -> None:
    failing = endpoint_overview(name="a", status=EndpointStatus.FAILING, lag_seconds=900.0, dead=2)
    by_status = {EndpointStatus.HEALTHY: 9000, EndpointStatus.PAUSED: 990, EndpointStatus.FAILING: 9}
    others = replace(NOBODY_ELSE, by_status=by_status, lag_seconds=400.0, backlog=7, pending=6, dead=5)
    survey = endpoint_survey([failing], others=others)
    snapshot = replace(NO_ENDPOINT, survey=survey, endpoints=survey.in_trouble)
    health = HealthCollector(snapshot)
    assert shown("cdc_bridge_lag_seconds", health) == {("a",): 900, (OTHERS,): 400}
    assert shown("cdc_bridge_dead_deliveries", health) == {("a",): 2, (OTHERS,): 5}
    statuses = shown("cdc_bridge_endpoint_status", health)
    assert (statuses["a", "failing"], statuses[OTHERS, "failing"], statuses[OTHERS, "disabled"]) == (1, 9, 0)
    assert sum(statuses.values()) == survey.number == 10_000
    assert shown("cdc_bridge_in_flight_requests", health) == {(OTHERS,): 0}


def test_few_endpoints_are_all_named() -> None:
    endpoints = [endpoint_overview(name="a"), endpoint_overview(name="b")]
    snapshot = replace(NO_ENDPOINT, survey=endpoint_survey([]), endpoints=endpoints)
    assert set(shown("cdc_bridge_lag_seconds", HealthCollector(snapshot))) == {("a",), ("b",)}
