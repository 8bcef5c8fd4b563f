"""Decides which endpoints a daemon stops and which it acquires, from a list of all endpoints."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId

ACQUIRED_AT_ONCE = 1000
"""The registration is renewed before the next ones are: on a slow machine it would expire meanwhile."""


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
    is_whole: bool = True
    """Whether no more endpoints are free that could be acquired now."""

    def look_again(self, seconds: float) -> None:
        """Look again after some seconds, if not before."""
        before = self.look_again_in_seconds
        self.look_again_in_seconds = seconds if before is None else min(before, seconds)


def plan(
    listed: Iterable[ListedEndpoint],
    free: Collection[EndpointId],
    leased: Mapping[EndpointId, Endpoint],
    definition_of: Callable[[ListedEndpoint], Endpoint | None],
    pauses: Mapping[EndpointId, float],
    *,
    alone: bool,
) -> Plan:
    """Plan which endpoints to stop and which to acquire.

    Args:
        listed: All endpoints.
        free: Those that no daemon has leased, and that were not tried before in parts of the same plan.
        leased: This daemon's endpoints, with the definitions by which it delivers to them.
        definition_of: Returns an endpoint's definition now; ``None``: another daemon's settings declare it. Raises
            ``ValueError`` if a value is invalid.
        pauses: Seconds for which endpoints are not to be acquired, as their pipelines have just crashed or end now.
        alone: Whether there is no other live daemon.
    """
    result = Plan()
    left = set(leased)
    for endpoint in listed:
        endpoint_id = endpoint.endpoint_id
        left.discard(endpoint_id)
        ours = leased.get(endpoint_id)
        if ours is None and (endpoint_id not in free or not result.is_whole):
            continue
        try:
            wanted = None if endpoint.paused or endpoint.disabled else definition_of(endpoint)
        except ValueError as error:
            wanted = None
            if ours is None:  # Else it is recorded once the lease is released.
                result.problems.append((endpoint, str(error)))
        if ours is not None:
            if ours != wanted:
                result.stop.add(endpoint_id)
        elif wanted is not None:
            _consider(result, endpoint, wanted, pauses.get(endpoint_id, 0.0))
            result.is_whole = len(result.acquire) < ACQUIRED_AT_ONCE
    result.stop |= left
    # Half of the last free endpoints at a time: daemons that look at the same time share them.
    if len(result.acquire) > 1 and result.is_whole and not alone:
        result.look_again(0.0)
        result.acquire = result.acquire[: (len(result.acquire) + 1) // 2]
    return result


def _consider(result: Plan, endpoint: ListedEndpoint, wanted: Endpoint, pause_seconds: float) -> None:
    if not endpoint.same_cluster:
        result.problems.append((endpoint, RESTORED_ELSEWHERE))
    elif pause_seconds > 0:
        result.look_again(pause_seconds)
    else:
        result.acquire.append((endpoint, wanted))
