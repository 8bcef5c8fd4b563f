"""Which endpoints that have conditions want a reservation, by the values of its columns.

An endpoint with several conditions is found by one of them, the one with the fewest values: the load looks at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import EndpointId
from cdc_bridge.payload.conditions import CanonicalCondition
from cdc_bridge.payload.definition import PayloadDefinition
from cdc_bridge.payload.subscription import Subscription

_NOT_ROUTED = frozenset({"timestamptz"})
"""Types to which PostgreSQL converts others on its own: if a column were retyped, that would not be noticed."""


class RoutingIndex:
    """The endpoints that have conditions on one payload."""

    def __init__(self, payload: str) -> None:
        self.payload = payload
        self.definition: PayloadDefinition | None = None
        """By which the conditions were resolved; ``None``: none is."""
        self.subscriptions: dict[EndpointId, Subscription] = {}
        """Of all endpoints, also of those that are being added."""
        self.unrouted: set[EndpointId] = set()
        """Those that get every reservation: their conditions do not fit the payload, or are on no column that tells."""
        self._routed: dict[EndpointId, CanonicalCondition] = {}
        self._by_column: dict[str, dict[str, set[EndpointId]]] = {}

    def put(
        self,
        endpoint_ids: Iterable[EndpointId],
        resolved: Mapping[Subscription, tuple[CanonicalCondition, ...] | PayloadInvalid],
    ) -> None:
        """Index endpoints whose conditions are resolved, instead of what was known of them; not those removed since."""
        types = {} if self.definition is None else self.definition.type_of
        for endpoint_id in endpoint_ids:
            subscription = self.subscriptions.get(endpoint_id)
            if subscription is not None and (conditions := resolved.get(subscription)) is not None:
                self._forget(endpoint_id)
                fitting = () if isinstance(conditions, PayloadInvalid) else conditions
                self._put(endpoint_id, [each for each in fitting if types.get(each.column) not in {None, *_NOT_ROUTED}])

    def remove(self, endpoint_id: EndpointId) -> None:
        """Forget an endpoint."""
        self.subscriptions.pop(endpoint_id, None)
        self._forget(endpoint_id)

    def routed(self, among: Collection[EndpointId] | None) -> Collection[EndpointId]:
        """Return the endpoints that are found by a column, of some or of all."""
        return self._routed.keys() if among is None else [each for each in among if each in self._routed]

    def columns(self, among: Collection[EndpointId] | None) -> tuple[str, ...]:
        """Return the columns by which endpoints are found, of some or of all."""
        if among is None:
            return tuple(sorted(self._by_column))
        return tuple(sorted({self._routed[endpoint_id].column for endpoint_id in self.routed(among)}))

    def wanting(
        self, columns: Sequence[str], rows: Iterable[Sequence[str | None]], among: AbstractSet[EndpointId] | None = None
    ) -> set[EndpointId]:
        """Return the endpoints that want a reservation.

        Args:
            columns: Columns by which endpoints are found.
            rows: Their canonical text in each of the reservation's rows.
            among: The endpoints to look at; ``None``: all.
        """
        found: set[EndpointId] = set()
        for row in rows:
            for column, text in zip(columns, row, strict=True):
                if text is not None:
                    found |= self._by_column.get(column, {}).get(text, set())
        return found if among is None else found & among

    def _put(self, endpoint_id: EndpointId, conditions: Sequence[CanonicalCondition]) -> None:
        if not conditions:
            self.unrouted.add(endpoint_id)
            return
        condition = min(conditions, key=lambda each: (len(each.values), each.column))
        self._routed[endpoint_id] = condition
        by_text = self._by_column.setdefault(condition.column, {})
        for text in condition.values:
            by_text.setdefault(text, set()).add(endpoint_id)

    def _forget(self, endpoint_id: EndpointId) -> None:
        self.unrouted.discard(endpoint_id)
        if (condition := self._routed.pop(endpoint_id, None)) is None:
            return
        by_text = self._by_column[condition.column]
        for text in condition.values:
            by_text[text].discard(endpoint_id)
            if not by_text[text]:
                del by_text[text]
        if not by_text:
            del self._by_column[condition.column]
