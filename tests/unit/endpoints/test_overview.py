from __future__ import annotations

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


@pytest.mark.parametrize("status", list(EndpointStatus))
def test_sentence_of_which_no_more_is_known_has_no_none(status: EndpointStatus) -> None:
    assert endpoint_overview(status=status).sentence(UTC) == status.value


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (89, "89 s"), (300, "5 min"), (7200, "2 h"), (864_000, "10 days")]
)
def test_age_has_one_unit(seconds: float, text: str) -> None:
    assert age(seconds) == age(timedelta(seconds=seconds)) == text
