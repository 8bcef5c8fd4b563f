"""Finds the endpoints that want changed reservations, before anything is queued for them.

With one restaurant an endpoint, the cost of a change depends on the endpoints that want it, not on those that exist.
One statement for each payload reads the columns that the endpoints' conditions are about, whatever the number of
endpoints; a dictionary tells who wants such a value. It may find an endpoint that does not get the reservation after
all, as the load looks at all of its conditions and at a later state; it never leaves one out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from cdc_bridge.database import ServerDatabase
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.payload.column_values import statement_for_few
from cdc_bridge.payload.conditions import Conditions, KnownConditions, resolve
from cdc_bridge.payload.definition import PayloadDefinition, payload_definition
from cdc_bridge.payload.routing_columns import RoutingColumns
from cdc_bridge.payload.routing_index import RoutingIndex
from cdc_bridge.payload.shape import defined_anew
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.payload.suspects import SuspectReservations
from cdc_bridge.sessions import Session

_MAX_TRIES = 5
_MOST_STATEMENTS = 100
_LONGEST_SECONDS = 60.0
"""Time to read columns for the endpoints of one payload: others wait no longer, as for a table that is locked."""


@dataclass(frozen=True, slots=True)
class Routes:
    """Which endpoints are to get changed reservations."""

    endpoints: Mapping[ReservationId, frozenset[EndpointId]]
    """Of each reservation."""
    unestablished: frozenset[ReservationId] = frozenset()
    """Those of which it is not known whether the undecided endpoints want them: to be asked again later."""
    undecided: frozenset[EndpointId] = frozenset()
    """The endpoints that may want an unestablished reservation: what is found of any other one is final."""


@dataclass(slots=True)
class _Found:
    """What was found for the endpoints of one payload."""

    wanting: dict[ReservationId, AbstractSet[EndpointId]] = field(default_factory=dict)
    unreadable: set[ReservationId] = field(default_factory=set)
    unestablished: set[ReservationId] = field(default_factory=set)


class Router:
    """The endpoints of a daemon, by what they want."""

    def __init__(self, database: ServerDatabase, suspects: Mapping[str, SuspectReservations]) -> None:
        """Begin without endpoints.

        Args:
            database: Has the reservations.
            suspects: For each payload, the reservations that may end sessions when they are routed. They outlive the
                server, which such a one may have ended.
        """
        self._database = database
        self.conditions = KnownConditions()
        """Those that were resolved."""
        self._suspects = suspects
        self._everything: set[EndpointId] = set()
        self._indexes: dict[str, RoutingIndex] = {}
        self._statements: dict[tuple[str, tuple[str, ...]], bytes] = {}
        """For few reservations, by the revision of the payload and the columns."""

    async def add(self, subscriptions: Mapping[EndpointId, Subscription]) -> None:
        """Add endpoints. They are found from when this returns on; until then they are not, if they were there already.

        Raises:
            ServerReplaced: Another server has taken over.
            StatementFailed: A statement failed for a reason that waiting does not solve.
        """
        new: dict[str, set[EndpointId]] = {}
        for endpoint_id, subscription in subscriptions.items():
            self.remove(endpoint_id)
            if subscription.conditions:
                new.setdefault(subscription.payload, set()).add(endpoint_id)
                index = self._indexes.setdefault(subscription.payload, RoutingIndex(subscription.payload))
                index.subscriptions[endpoint_id] = subscription
            else:
                self._everything.add(endpoint_id)
        for payload, endpoint_ids in new.items():
            await self._resolve(self._indexes[payload], endpoint_ids)

    def remove(self, endpoint_id: EndpointId) -> None:
        """Remove an endpoint, if it is there."""
        self._everything.discard(endpoint_id)
        for index in self._indexes.values():
            index.remove(endpoint_id)

    async def route(
        self, reservation_ids: Collection[ReservationId], among: Collection[EndpointId] | None = None
    ) -> Routes:
        """Find the endpoints that are to get reservations.

        Args:
            reservation_ids: Their keys.
            among: The endpoints to look at; ``None``: all.

        Raises:
            ServerReplaced: Another server has taken over.
            StatementFailed: A statement failed for a reason that waiting does not solve.
        """
        ids = list(dict.fromkeys(reservation_ids))
        if among is not None:
            among = frozenset(among)
        indexes = [index for index in self._indexes.values() if ids and index.columns(among)]
        found = await asyncio.gather(*(self._read(index, ids, among) for index in indexes))
        return self._routes(ids, among, dict(zip(indexes, found, strict=True)))

    def _routes(
        self, ids: Sequence[ReservationId], among: frozenset[EndpointId] | None, found: Mapping[RoutingIndex, _Found]
    ) -> Routes:
        for_all = self._everything.union(*(index.unrouted for index in self._indexes.values()))
        always = frozenset(for_all if among is None else for_all & among)
        endpoints: dict[ReservationId, frozenset[EndpointId]] = dict.fromkeys(ids, always)
        unestablished: set[ReservationId] = set()
        undecided: set[EndpointId] = set()
        for index, read in found.items():
            for id_, wanting in read.wanting.items():
                if wanting:
                    endpoints[id_] |= wanting
            for id_ in read.unreadable:
                endpoints[id_] |= frozenset(index.routed(among))
            if read.unestablished:
                unestablished |= read.unestablished
                undecided.update(index.routed(among))
        return Routes(endpoints, frozenset(unestablished), frozenset(undecided))

    async def _resolve(self, index: RoutingIndex, endpoint_ids: Collection[EndpointId]) -> None:
        """Index endpoints, and all the others with them if the payload was defined anew."""
        subscriptions: Collection[Subscription] = ()
        problem = defined_anew(index.payload)
        for _ in range(_MAX_TRIES):
            subscriptions = {index.subscriptions[each] for each in endpoint_ids if each in index.subscriptions}
            try:
                definition, resolved = await self._database.patiently(
                    partial(self._resolved, payload=index.payload, subscriptions=subscriptions)
                )
            except PayloadInvalid as error:
                problem = error
                break
            if resolved is None:
                continue
            if index.definition is None or index.definition.revision != definition.revision:
                if not index.subscriptions.keys() <= set(endpoint_ids):
                    endpoint_ids = set(index.subscriptions)
                    continue
                index.definition = definition
            index.put(endpoint_ids, resolved)
            return
        index.put(endpoint_ids, dict.fromkeys(subscriptions, problem))

    async def _resolved(
        self, connection: Session, payload: str, subscriptions: Collection[Subscription]
    ) -> tuple[PayloadDefinition, Conditions | None]:
        definition = await payload_definition(connection, payload)
        known = self.conditions.of(definition)
        return definition, known if await resolve(connection, definition, known, subscriptions) else None

    async def _read(
        self, index: RoutingIndex, ids: Sequence[ReservationId], among: frozenset[EndpointId] | None
    ) -> _Found:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_SECONDS):
                for _ in range(_MAX_TRIES):
                    columns, definition = index.columns(among), index.definition
                    if not columns:
                        return _Found()
                    if definition is not None:
                        statement = self._statement_for_few(definition, columns)
                        suspects = self._suspects[index.payload]
                        reading = RoutingColumns(self._database, definition, columns, statement, suspects)
                        if await reading.read(ids) and index.definition is definition:
                            return _Found(
                                {id_: index.wanting(columns, rows, among) for id_, rows in reading.rows.items()},
                                reading.unreadable,
                                reading.unestablished,
                            )
                    await self._resolve(index, set(index.subscriptions))
        return _Found(unestablished=set(ids))

    def _statement_for_few(self, definition: PayloadDefinition, columns: tuple[str, ...]) -> bytes:
        key = (definition.revision, columns)
        if key not in self._statements:
            if len(self._statements) >= _MOST_STATEMENTS:
                self._statements.clear()
            self._statements[key] = statement_for_few(definition, columns)
        return self._statements[key]
