"""Selects some of the reservations that the endpoints of a payload get, to try the payload on them.

Half of them are those that changed last, and the other half are the first ones by their key: the oldest where keys are
numbers that grow, any others where they are random.

A table of millions may have none that an endpoint gets. So each search ends after some seconds: of what changed last,
and of the table, by each endpoint that it is searched for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

import psycopg
from psycopg import errors

from cdc_bridge.database import condition_of, limit_loading
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.column_values import Texts
from cdc_bridge.payload.conditions import CanonicalCondition, KnownConditions, unfitting
from cdc_bridge.payload.keys import ReservationKeys
from cdc_bridge.payload.payload_loader import LONGEST_LOAD_SECONDS
from cdc_bridge.payload.shape import CurrentShape, Shape
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.payload.unloaded import find_unloaded
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection, Session

_queries = load_queries(__name__)

_AT_ONCE = 200
"""Reservations whose columns are read at once."""
_CHANGES_FOR_EACH = 4
"""Changes that are looked at for each reservation: many change several times, or are for no endpoint."""
_FEW = 5
"""Subscriptions for each of which the table is searched by its conditions, as an index may serve them; more of them are
looked for in its rows, one after another."""
_LONGEST_SEARCH_SECONDS = 5.0

_Conditions = Sequence[CanonicalCondition]


@dataclass(frozen=True, slots=True)
class Selection:
    """Some reservations."""

    reservation_ids: Sequence[ReservationId]
    problem: str | None = None
    """Why the table could not be searched for more: a row makes the search fail."""
    timed_out: bool = False
    """Whether there may be more: there was no time to search further."""


async def select_reservations(
    connection: Session, loading: LoadingConnection, subscriptions: Collection[Subscription], number: int
) -> Selection:
    """Return reservations that at least one of some endpoints gets, or of which that is unknown.

    Args:
        connection: Reads the change log.
        loading: Reads e-Res's tables.
        subscriptions: Those of the endpoints, all to one payload.
        number: How many are wanted; fewer if there are no more.

    Raises:
        PayloadInvalid: The payload is not defined, does not fit e-Res's tables, or no endpoint's conditions fit it.
    """
    (payload,) = {subscription.payload for subscription in subscriptions}
    fitting = await _fitting(connection, subscriptions)
    wants_all = any(not subscription.conditions for subscription in fitting)
    await limit_loading(loading)
    search = _Search(loading, payload, () if wants_all else fitting)
    newest = await search.first_of(await _last_changed(connection, _CHANGES_FOR_EACH * number), number, _until())
    selected = dict.fromkeys(newest[: -(-number // 2)])
    if wants_all or len(fitting) > _FEW:
        selected |= dict.fromkeys(await search.first_in_table(Subscription(payload), number))
    else:
        for subscription in fitting:
            selected |= dict.fromkeys(await search.first_in_table(subscription, -(-number // len(fitting))))
    # The rest of the newest ones comes last: it is there if the table has too few others.
    found = list(selected | dict.fromkeys(newest))[:number]
    return Selection(found, search.problem, search.timed_out and len(found) < number)


def _until() -> float:
    return monotonic() + _LONGEST_SEARCH_SECONDS


async def _fitting(connection: Session, subscriptions: Collection[Subscription]) -> Collection[Subscription]:
    invalid = await unfitting(connection, subscriptions)
    fitting = [subscription for subscription in subscriptions if subscription not in invalid]
    if not fitting:
        raise next(iter(invalid.values()))
    return fitting


async def _last_changed(connection: Session, limit: int) -> list[ReservationId]:
    cursor = await connection.execute(_queries["last_changed"], {"limit": limit})
    return list(dict.fromkeys([ReservationId(id_) for (id_,) in await cursor.fetchall()]))


class _Search:
    """Finds reservations that meet the conditions of one subscription or another, however many there are.

    Whoever has several conditions is found by the first one.
    """

    def __init__(self, loading: LoadingConnection, payload: str, subscriptions: Collection[Subscription]) -> None:
        """Prepare to search.

        Args:
            loading: Reads e-Res's tables.
            payload: The payload's name.
            subscriptions: Those to it; none: every reservation is wanted.
        """
        self._loading = loading
        self._shape = CurrentShape(payload, KnownConditions())
        self._subscriptions = subscriptions
        self._indexed: tuple[Shape, Mapping[tuple[str, str | None], Sequence[_Conditions]]] | None = None
        self.problem: str | None = None
        """Why the table could not be searched."""
        self.timed_out = False
        """Whether a search ended early."""

    async def first_in_table(self, subscription: Subscription, number: int) -> list[ReservationId]:
        """Return the first reservations of the table that a subscription selects and that are wanted."""
        keys, until, found = ReservationKeys(None, subscription), _until(), list[ReservationId]()
        while len(found) < number and not keys.at_end:
            if monotonic() > until:
                self.timed_out = True
                break
            try:
                page = await keys.next_page(self._loading, max(number, _AT_ONCE))
            except errors.QueryCanceled:
                self.timed_out = True
                break
            except psycopg.Error as error:
                if self._loading.closed:
                    raise
                self.problem = condition_of(error)
                break
            found += await self.first_of(page, number - len(found), until)
        return found

    async def first_of(
        self, reservation_ids: Sequence[ReservationId], number: int, until: float
    ) -> list[ReservationId]:
        """Return the first of some reservations that are wanted; one of which that is unknown is among them."""
        found: list[ReservationId] = []
        for start in range(0, len(reservation_ids), _AT_ONCE):
            if len(found) >= number:
                break
            if monotonic() > until:
                self.timed_out = True
                break
            found += await self._wanted(reservation_ids[start : start + _AT_ONCE])
        return found[:number]

    async def _wanted(self, reservation_ids: Sequence[ReservationId]) -> Sequence[ReservationId]:
        if not self._subscriptions:
            return reservation_ids
        until = monotonic() + LONGEST_LOAD_SECONDS
        try:
            values = await find_unloaded(
                self._loading, self._shape, reservation_ids, self._subscriptions, snapshot=None, until=until
            )
        except psycopg.Error:
            if self._loading.closed:
                raise
            return reservation_ids
        columns, by_first = values.reading.columns, self._by_first_condition(values.reading.shape)

        def is_wanted(texts: Texts) -> bool:
            row = dict(zip(columns, texts, strict=True))
            return any(
                all(row[condition.column] in condition.values for condition in others)
                for item in row.items()
                for others in by_first.get(item, ())
            )

        return [
            id_
            for id_ in reservation_ids
            if id_ not in values.left_out and (id_ not in values.rows or any(map(is_wanted, values.rows[id_])))
        ]

    def _by_first_condition(self, shape: Shape) -> Mapping[tuple[str, str | None], Sequence[_Conditions]]:
        """Return the other conditions of each endpoint, by column and value of the first one."""
        if self._indexed is None or self._indexed[0] is not shape:
            index: dict[tuple[str, str | None], list[_Conditions]] = {}
            for subscription in self._subscriptions:
                conditions = shape.conditions[subscription]
                if not isinstance(conditions, PayloadInvalid):
                    for value in conditions[0].values:
                        index.setdefault((conditions[0].column, value), []).append(conditions[1:])
            self._indexed = (shape, index)
        return self._indexed[1]
