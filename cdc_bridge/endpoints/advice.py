"""What deserves a look though no alarm is raised for it; shown on the dashboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus


@dataclass(frozen=True, slots=True)
class Advice:
    """Something to know about an endpoint, and what can be done."""

    endpoint: str
    text: str
    remedy: str
    since: datetime | None = None


def advice_for(endpoints: Sequence[EndpointOverview]) -> list[Advice]:
    """Return what there is to know about endpoints that are not as one would want them."""
    return [advice for endpoint in endpoints for advice in _of(endpoint)]


def _of(endpoint: EndpointOverview) -> Iterator[Advice]:
    name, reason = endpoint.name, endpoint.reason or endpoint.last_failure
    because = f": {reason}" if reason else ""
    match endpoint.status:
        case EndpointStatus.FAILING:
            remedy = "Deliveries are retried, and none is lost. A test request shows the endpoint's response."
            yield Advice(name, f"is failing{because}", remedy, endpoint.since)
        case EndpointStatus.PAUSED:
            yield Advice(name, "is paused", "Changes are kept and delivered when it is resumed.", endpoint.since)
        case EndpointStatus.UNASSIGNED if not endpoint.settling:
            yield Advice(name, "is unassigned", "Check that the daemon for it runs.", endpoint.since)
        case EndpointStatus.DEGRADED if endpoint.pending:
            remedy = "They are retried. The list of retrying deliveries shows each response."
            yield Advice(name, f"rejects some deliveries{because}", remedy)
        case _:
            pass
    if missed := (endpoint.reconciled_missing or 0) + (endpoint.reconciled_stale or 0):
        yield Advice(
            name,
            f"had {missed:,} reservations missing or stale at the last reconcile",
            f"To deliver them: cdc-bridge reconcile --endpoint {name} --repair",
        )
    if endpoint.dead:
        letters = "dead letter" if endpoint.dead == 1 else "dead letters"
        yield Advice(name, f"has {endpoint.dead:,} {letters}", "Replay them when the cause is fixed.")
