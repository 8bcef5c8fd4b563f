"""A healthy endpoint, for tests that change what they are about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.model import EndpointId

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def endpoint_overview(**changes: Any) -> EndpointOverview:
    healthy = EndpointOverview(
        endpoint_id=EndpointId(1),
        name="till",
        url="https://till.example/x?...",
        in_settings=False,
        read_at=NOON,
        status=EndpointStatus.HEALTHY,
        since=None,
        reason=None,
        next_probe_at=None,
        daemon="host:1",
        unread=0,
        pending=0,
        dead=0,
        lag_seconds=None,
        in_flight=0,
        listening=True,
        deliveries_per_second=0.0,
        last_success_at=None,
        last_failure_at=None,
        last_failure=None,
        rate_limited_since=None,
        max_per_second=None,
        last_hour=LastHour(NOON),
        reconciled_missing=None,
        reconciled_stale=None,
        oldest_pending_seq=None,
        oldest_pending_reservation=None,
        oldest_pending_attempts=None,
        oldest_pending_error=None,
    )
    return replace(healthy, **changes)
