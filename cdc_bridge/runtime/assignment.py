"""Which endpoints a daemon lets go and which it takes, decided from what it sees of them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.status import OTHER_CLUSTER
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId


@dataclass(slots=True)
class Plan:
    """What to do next."""

    stop: set[EndpointId] = field(default_factory=set)
    """Of those held: to be called otherwise now, or not at all."""
    take: list[tuple[ListedEndpoint, Endpoint]] = field(default_factory=list)
    """Free, and how they are called."""
    problems: list[tuple[ListedEndpoint, str]] = field(default_factory=list)
    """Free, and why they cannot be called."""
    look_again_in_seconds: float | None = None
    """When more may be free; ``None``: nothing is known to become so."""

    def look_again(self, seconds: float) -> None:
        """Look again after so long, if not before."""
        before = self.look_again_in_seconds
        self.look_again_in_seconds = seconds if before is None else min(before, seconds)


def plan(
    listed: Sequence[ListedEndpoint],
    held: Mapping[EndpointId, Endpoint],
    definition: Callable[[ListedEndpoint], Endpoint | None],
    pauses: Mapping[EndpointId, float],
) -> Plan:
    """Decide.

    Args:
        listed: all endpoints as they are now.
        held: those that this daemon holds, and how it calls them.
        definition: tells how an endpoint is to be called now; ``None``: only another daemon's settings tell. It raises
            ``ValueError`` where a value cannot be used.
        pauses: those whose last try here ended with a surprise, and how many seconds they are to be left alone yet.
    """
    result = Plan(stop=set(held) - {endpoint.endpoint_id for endpoint in listed})
    for endpoint in listed:
        ours = held.get(endpoint.endpoint_id)
        try:
            wanted = None if endpoint.paused or endpoint.disabled else definition(endpoint)
        except ValueError as error:
            wanted = None
            if endpoint.free or ours is not None:
                result.problems.append((endpoint, str(error)))
        if ours is not None:
            if ours != wanted:
                result.stop.add(endpoint.endpoint_id)
        elif wanted is not None:
            _consider(result, endpoint, wanted, pauses.get(endpoint.endpoint_id, 0.0))
    # Half of what is free at a time: daemons that look at once share.
    if len(result.take) > 1:
        result.look_again(0.0)
        result.take = result.take[: (len(result.take) + 1) // 2]
    return result


def _consider(result: Plan, endpoint: ListedEndpoint, wanted: Endpoint, pause: float) -> None:
    if not endpoint.free:
        result.look_again(endpoint.lease_ends_in_seconds or 0.0)
    elif not endpoint.same_cluster:
        result.problems.append((endpoint, OTHER_CLUSTER))
    elif pause > 0:
        result.look_again(pause)
    else:
        result.take.append((endpoint, wanted))
