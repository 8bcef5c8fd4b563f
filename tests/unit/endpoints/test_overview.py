from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest

from cdc_bridge.endpoints.status import EndpointStatus, age
from tests.support.overviews import NOON, endpoint_overview


def test_status_that_needs_no_more_words_is_one_word() -> None:
    assert endpoint_overview().sentence(UTC) == "healthy"


def test_sentence_has_times_in_the_time_zone_of_the_reader() -> None:
    failing = endpoint_overview(
        status=EndpointStatus.FAILING,
        since=NOON,
        next_probe_at=NOON + timedelta(seconds=42),
        reason="HTTP 503 Service Unavailable",
    )
    assert failing.sentence(UTC) == (
        "failing since 2026-06-01 12:00:00 UTC, next attempt at 12:00:42 UTC: HTTP 503 Service Unavailable"
    )
    here = failing.sentence(timezone(timedelta(hours=1), "HERE"))
    assert here.startswith("failing since 2026-06-01 13:00:00 HERE, next attempt at 13:00:42 HERE:")


@pytest.mark.parametrize(
    ("max_per_second", "reason"),
    [
        (5.0, "limited to 5 requests a second"),
        (1.0, "limited to 1 request a second"),
        (0.01, "limited to 0.01 requests a second"),
    ],
)
def test_limit_of_requests_is_the_reason_of_the_lag_and_changes_no_status(max_per_second: float, reason: str) -> None:
    limited = endpoint_overview(rate_limited_since=NOON, max_per_second=max_per_second)
    assert limited.lag_reason == reason
    assert limited.sentence(UTC) == f"healthy: {reason}"
    assert replace(limited, rate_limited_since=None).sentence(UTC) == "healthy"
    rejected = replace(limited, status=EndpointStatus.DEGRADED, reason="HTTP 422")
    assert rejected.sentence(UTC) == f"degraded: HTTP 422; {reason}"


@pytest.mark.parametrize("status", list(EndpointStatus))
def test_sentence_of_which_no_more_is_known_has_no_none(status: EndpointStatus) -> None:
    assert endpoint_overview(status=status).sentence(UTC) == status.value


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (89, "89 s"), (300, "5 min"), (7200, "2 h"), (864_000, "10 days")]
)
def test_age_has_one_unit(seconds: float, text: str) -> None:
    assert age(seconds) == age(timedelta(seconds=seconds)) == text
