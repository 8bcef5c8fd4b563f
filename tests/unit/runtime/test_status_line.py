from __future__ import annotations

from cdc_bridge.runtime.status_line import describe


def test_each_of_few_endpoints_is_named_with_its_status_and_reason() -> None:
    statuses = [("bar", "healthy", None), ("till", "failing", "HTTP 503 Service Unavailable")]
    assert describe(statuses) == "bar is healthy; till is failing: HTTP 503 Service Unavailable"


def test_of_many_endpoints_the_statuses_are_counted() -> None:
    statuses = [(f"till-{number}", "healthy" if number else "failing", None) for number in range(12)]
    assert describe(statuses) == "12 endpoints: 1 failing, 11 healthy"
