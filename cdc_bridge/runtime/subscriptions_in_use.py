"""What the endpoints get of the reservations, kept current at the cost of what somebody has changed."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress

from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId
from cdc_bridge.payload.subscription import EVERYTHING, Subscription, parse_conditions


class SubscriptionsInUse:
    """The subscriptions of all endpoints."""

    def __init__(self) -> None:
        """Begin without endpoints."""
        self._listed: Mapping[EndpointId, ListedEndpoint] | None = None
        self._known: dict[EndpointId, tuple[ListedEndpoint, Subscription | None]] = {}
        self.all: AbstractSet[Subscription] = frozenset({EVERYTHING})
        """Everything, if there is no endpoint. One whose conditions cannot be read is invalid, and gets nothing."""
        self.payloads: AbstractSet[str] = frozenset({EVERYTHING.payload})
        """Those that they are about."""

    def update(self, listed: Mapping[EndpointId, ListedEndpoint]) -> bool:
        """Note how the endpoints are listed now; return whether other subscriptions are in use.

        Args:
            listed: All endpoints. Another mapping, and another row of an endpoint, if something has changed.
        """
        if listed is self._listed:
            return False
        self._listed = listed
        before, known = self.all, self._known
        self._known = {
            endpoint_id: known[endpoint_id]
            if endpoint_id in known and known[endpoint_id][0] is endpoint
            else (endpoint, _subscription_of(endpoint))
            for endpoint_id, endpoint in listed.items()
        }
        in_use = frozenset(found for _, found in self._known.values() if found is not None)
        self.all = in_use or frozenset({EVERYTHING})
        self.payloads = frozenset(subscription.payload for subscription in self.all)
        return self.all != before


def _subscription_of(endpoint: ListedEndpoint) -> Subscription | None:
    with suppress(ValueError):
        return Subscription(endpoint.row["payload"], parse_conditions(endpoint.row["only"]))
    return None
