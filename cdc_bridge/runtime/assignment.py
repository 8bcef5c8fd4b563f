"""Decides which endpoints a daemon stops and which it acquires, from a list of all endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId


@dataclass(slots=True)
class Plan:
    """What a daemon does next."""

    stop: set[EndpointId] = field(default_factory=set)
    """Leased endpoints to stop: their definition has changed, or they get no deliveries any more."""
    acquire: list[tuple[ListedEndpoint, Endpoint]] = field(default_factory=list)
    """Free endpoints to acquire, with their definitions."""
    problems: list[tuple[ListedEndpoint, str]] = field(default_factory=list)
    """Invalid endpoints, and why."""
    look_again_in_seconds: float | None = None
    """When more endpoints may be free; ``None``: no time is known."""

    def look_again(self, seconds: float) -> None:
        """Look again after some seconds, if not before."""
        before = self.look_again_in_seconds
        self.look_again_in_seconds = seconds if before is None else min(before, seconds)


def plan(
    listed: Sequence[ListedEndpoint],
    leased: Mapping[EndpointId, Endpoint],
    definition_of: Callable[[ListedEndpoint], Endpoint | None],
    pauses: Mapping[EndpointId, float],
) -> Plan:
    """Plan which endpoints to stop and which to acquire.

    Args:
        listed: All endpoints.
        leased: This daemon's endpoints, with the definitions that their pipelines use.
        definition_of: Returns an endpoint's definition now; ``None``: another daemon's settings declare it. Raises
            ``ValueError`` if a value is invalid.
        pauses: Seconds for which endpoints are not to be acquired, as their pipelines have just crashed or end now.
    """
    result = Plan(stop=set(leased) - {endpoint.endpoint_id for endpoint in listed})
    for endpoint in listed:
        ours = leased.get(endpoint.endpoint_id)
        try:
            wanted = None if endpoint.paused or endpoint.disabled else definition_of(endpoint)
        except ValueError as error:
            wanted = None
            if endpoint.free or ours is not None:
                result.problems.append((endpoint, str(error)))
        if ours is not None:
            if ours != wanted:
                result.stop.add(endpoint.endpoint_id)
        elif wanted is not None:
            _consider(result, endpoint, wanted, pauses.get(endpoint.endpoint_id, 0.0))
    # Half of the free endpoints at a time: daemons that look at the same time share them.
    if len(result.acquire) > 1:
        result.look_again(0.0)
        result.acquire = result.acquire[: (len(result.acquire) + 1) // 2]
    return result


def _consider(result: Plan, endpoint: ListedEndpoint, wanted: Endpoint, pause_seconds: float) -> None:
    if not endpoint.free:
        result.look_again(endpoint.lease_ends_in_seconds or 0.0)
    elif not endpoint.same_cluster:
        result.problems.append((endpoint, RESTORED_ELSEWHERE))
    elif pause_seconds > 0:
        result.look_again(pause_seconds)
    else:
        result.acquire.append((endpoint, wanted))
