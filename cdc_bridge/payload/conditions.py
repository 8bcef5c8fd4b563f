"""Conditions in canonical text, so that a dictionary tells which of many endpoints want a reservation.

PostgreSQL turns the values of conditions and of columns into canonical text (``sql/functions/canonical.sql``): two
values are equal for it if their texts are the same. So PostgreSQL alone says what equality is, in the column's type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice

from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.payload.definition import PayloadDefinition, payload_definition
from cdc_bridge.payload.formats import form_of
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_MOST_VALUES = 10_000
"""Values that one statement turns into canonical text."""
_MOST_KNOWN = 50_000
"""Subscriptions of one payload that are kept: most are of endpoints that are no more."""


@dataclass(frozen=True, slots=True)
class CanonicalCondition:
    """A column of a payload, and the canonical texts of which it has to have one."""

    column: str
    values: frozenset[str]


Conditions = dict[Subscription, tuple[CanonicalCondition, ...] | PayloadInvalid]
"""The conditions of some subscriptions, as they are by one definition of the payload; an error: one does not fit it."""


class KnownConditions:
    """The conditions that were resolved for the endpoints of a daemon, by the newest definitions of their payloads."""

    def __init__(self) -> None:
        self._of_payload: dict[str, tuple[str, Conditions]] = {}

    def of(self, definition: PayloadDefinition) -> Conditions:
        """Return those that are known by a definition. More are added as they are resolved."""
        revision, known = self._of_payload.get(definition.name, ("", {}))
        if revision != definition.revision or len(known) > _MOST_KNOWN:
            known = {}
            self._of_payload[definition.name] = (definition.revision, known)
        return known

    def are_current(self, payload: str, known: Conditions) -> bool:
        """Return whether conditions are by the newest definition that was read, and may grow."""
        return payload in self._of_payload and self._of_payload[payload][1] is known and len(known) <= _MOST_KNOWN


async def resolve(
    connection: AsyncConnection[TupleRow],
    definition: PayloadDefinition,
    known: Conditions,
    subscriptions: Iterable[Subscription],
) -> bool:
    """Resolve those of some subscriptions that are not known.

    Returns:
        Whether the payload is still defined like this; if not, they are still unknown.

    Raises:
        PayloadInvalid: The payload is not defined any more.
    """
    new = [subscription for subscription in subscriptions if subscription not in known]
    known.update((subscription, ()) for subscription in new if not subscription.conditions)
    if with_conditions := [subscription for subscription in new if subscription.conditions]:
        revision, resolved = await _resolve(connection, definition.name, with_conditions)
        if revision != definition.revision:
            return False
        known.update(resolved)
    return True


def canonical_function(type_: str) -> str:
    """Return the name of the function of schema ``cdc_bridge`` that returns the canonical text of a column type."""
    form = form_of(type_)
    return f"canonical_{form}"


async def _resolve(
    connection: AsyncConnection[TupleRow], payload: str, subscriptions: Collection[Subscription]
) -> tuple[str, Conditions]:
    """Return the conditions of subscriptions to one payload, led by the revision of its definition."""
    asked = dict.fromkeys(
        (condition.column, value)
        for subscription in subscriptions
        for condition in subscription.conditions
        for value in condition.values
    )
    while True:
        found = await _canonical_values(connection, payload, asked)
        revisions = {revision for revision, _, _ in found.values()}
        if len(revisions) == 1:
            return revisions.pop(), {subscription: _resolved(subscription, found) for subscription in subscriptions}


async def unfitting(
    connection: AsyncConnection[TupleRow], subscriptions: Iterable[Subscription]
) -> dict[Subscription, PayloadInvalid]:
    """Return those of any number of subscriptions that do not fit their payload, and why."""
    of_payload: dict[str, list[Subscription]] = {}
    for subscription in subscriptions:
        of_payload.setdefault(subscription.payload, []).append(subscription)
    invalid: dict[Subscription, PayloadInvalid] = {}
    for payload, several in of_payload.items():
        known: Conditions = {}
        try:
            while not await resolve(connection, await payload_definition(connection, payload), known, several):
                known = {}
        except PayloadInvalid as error:
            invalid |= dict.fromkeys(several, error)
        invalid |= {each: found for each, found in known.items() if isinstance(found, PayloadInvalid)}
    return invalid


async def require_fitting(connection: AsyncConnection[TupleRow], subscription: Subscription) -> None:
    """Make sure that the conditions of an endpoint fit its payload.

    Raises:
        PayloadInvalid: The payload is not defined, or a condition does not fit it.
    """
    for error in (await unfitting(connection, [subscription])).values():
        raise error


_Canonical = dict[tuple[str, str], tuple[str, str | None, str | None]]
"""For a column and a value: the definition's revision, the canonical text, and why there is none."""


async def _canonical_values(
    connection: AsyncConnection[TupleRow], payload: str, asked: Collection[tuple[str, str]]
) -> _Canonical:
    found: _Canonical = {}
    left = iter(asked)
    while page := list(islice(left, _MOST_VALUES)):
        parameters = {
            "payload": payload,
            "columns": [column for column, _ in page],
            "values": [value for _, value in page],
        }
        try:
            cursor = await connection.execute(_queries["canonical_values"], parameters)
        except errors.NoDataFound:
            await payload_definition(connection, payload)  # says that it is not defined
            raise
        async for revision, column, value, canonical, problem in cursor:
            found[column, value] = (revision, canonical, problem)
    return found


def _resolved(subscription: Subscription, found: _Canonical) -> tuple[CanonicalCondition, ...] | PayloadInvalid:
    conditions = []
    for condition in subscription.conditions:
        values = set()
        for value in condition.values:
            _, canonical, problem = found[condition.column, value]
            if canonical is None:
                return PayloadInvalid(
                    f"a condition (option only) does not fit: {problem}",
                    "See the payload's columns in the mapping. To change it: "
                    "cdc-bridge endpoint set NAME --only COLUMN=VALUE",
                )
            values.add(canonical)
        conditions.append(CanonicalCondition(condition.column, frozenset(values)))
    return tuple(conditions)
