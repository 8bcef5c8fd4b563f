"""A healthy endpoint, for tests that change what they are about, and what there is to say of some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.endpoints.survey import EndpointSurvey, OtherEndpoints
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime.health import HealthSnapshot

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def endpoint_overview(**changes: Any) -> EndpointOverview:
    healthy = EndpointOverview(
        endpoint_id=EndpointId(1),
        name="till",
        url="https://till.example/x?...",
        in_settings=False,
        gets_everything=True,
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


NOBODY_ELSE = OtherEndpoints(
    {}, lag_seconds=0.0, backlog=0, pending=0, dead=0, last_success_at=None, last_failure_at=None
)


def endpoint_survey(
    endpoints: Sequence[EndpointOverview], max_lag_seconds: float = 300.0, others: OtherEndpoints = NOBODY_ELSE
) -> EndpointSurvey:
    """Judge endpoints as the database does; all of them are named, and the others are healthy."""

    def lasts(endpoint: EndpointOverview) -> bool:
        since = endpoint.since
        return since is not None and (endpoint.read_at - since).total_seconds() > max_lag_seconds

    stopped = {EndpointStatus.DISABLED, EndpointStatus.INVALID}
    late = [one for one in endpoints if not one.stopped and (one.lag_seconds or 0.0) > max_lag_seconds]
    problems = [
        one
        for one in endpoints
        if one.status in stopped
        or (one.status in {EndpointStatus.FAILING, EndpointStatus.UNASSIGNED} and lasts(one) and not one.settling)
    ]
    return EndpointSurvey(
        by_status=Counter(one.status for one in endpoints) + Counter(others.by_status),
        by_problem=Counter(one.status for one in problems),
        late=len(late),
        number_in_trouble=len(endpoints),
        in_trouble=endpoints,
        others=others,
        matching=0,
        page=(),
    )


NO_ENDPOINT = HealthSnapshot(endpoint_survey([]), [], [], database_up=True, leased=[], number_leased=0, listening=True)
