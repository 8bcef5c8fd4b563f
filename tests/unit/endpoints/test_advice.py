from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cdc_bridge.endpoints.advice import advice_for
from cdc_bridge.endpoints.status import EndpointStatus
from tests.support.overviews import NOON, endpoint_overview


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({}, []),
        ({"status": EndpointStatus.FAILING, "reason": "HTTP 503"}, ["is failing: HTTP 503"]),
        ({"status": EndpointStatus.PAUSED}, ["is paused"]),
        ({"status": EndpointStatus.UNASSIGNED, "since": NOON - timedelta(minutes=1)}, ["is unassigned"]),
        ({"status": EndpointStatus.UNASSIGNED, "since": NOON - timedelta(seconds=1)}, []),
        (
            {"status": EndpointStatus.DEGRADED, "reason": "HTTP 422", "pending": 2},
            ["rejects some deliveries: HTTP 422"],
        ),
        ({"status": EndpointStatus.DEGRADED, "dead": 1}, ["has 1 dead letter"]),
        ({"dead": 1200}, ["has 1,200 dead letters"]),
        (
            {"reconciled_missing": 17, "reconciled_stale": 3},
            ["had 20 reservations missing or stale at the last reconcile"],
        ),
        ({"status": EndpointStatus.DISABLED}, []),  # That is a problem, and no advice.
    ],
)
def test_advice(changes: dict[str, Any], texts: list[str]) -> None:
    assert [advice.text for advice in advice_for([endpoint_overview(**changes)])] == texts
