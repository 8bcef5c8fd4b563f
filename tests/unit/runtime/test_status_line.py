from __future__ import annotations

from cdc_bridge.runtime.status_line import describe, describe_many


def test_each_of_few_endpoints_is_named_with_its_status_and_reason() -> None:
    statuses = [("bar", "healthy", None), ("till", "failing", "HTTP 503 Service Unavailable")]
    assert describe(statuses) == "bar is healthy; till is failing: HTTP 503 Service Unavailable"


def test_of_many_endpoints_the_statuses_are_counted() -> None:
    assert describe_many([("healthy", 9_990), ("failing", 10)]) == "10,000 endpoints: 9,990 healthy, 10 failing"
