"""Checks what an operator lets an endpoint get of the reservations: the payload, and the conditions on its columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.did_you_mean import did_you_mean
from cdc_bridge.endpoints.option_input import option_fault
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.errors import FaultyInput, PayloadInvalid
from cdc_bridge.model import without_secrets
from cdc_bridge.payload.conditions import require_fitting, unfitting
from cdc_bridge.payload.definition import RESERVATION, PayloadDefinition, defined_payloads, payload_definition
from cdc_bridge.payload.subscription import EVERYTHING, Subscription, parse_conditions

_LIKELY_TO_CHANGE = frozenset(
    {
        "status", "cancelled", "deleted", "arrived", "departed",
        "datetime", "duration", "adults", "children", "room_id", "room_name", "tables", "updated",
    }
)  # fmt: skip
_OF_SUBSCRIPTION = ("payload", "only", "events")


async def check_subscription(
    connection: AsyncConnection[TupleRow], stored: Mapping[str, Any], before: Mapping[str, Any] | None = None
) -> list[str]:
    """Check payload and conditions against what the mapping defines; return warnings.

    Args:
        connection: To the database.
        stored: The options that are given, in stored form.
        before: What is shown of the endpoint's options so far, where it exists already.

    Raises:
        FaultyInput: There is no such payload or column, or a value cannot be one of the column's type.
    """
    if stored.keys().isdisjoint(("payload", "only")):
        return []
    together = {**(before or {}), **stored}
    try:
        subscription = Subscription(together["payload"], parse_conditions(together["only"]))
    except ValueError as error:  # psql wrote that there.
        raise _faulty("only", str(error), f"To remove it: {OPTIONS['only'].flag} ''") from None
    if before is None and subscription == EVERYTHING and RESERVATION not in await defined_payloads(connection):
        return []  # There is no mapping yet. The status will say so.
    columns = (await known_payload(connection, subscription.payload)).columns
    if (unknown := _unknown_column(subscription, columns)) is not None:
        raise _faulty("only", unknown, f"Its columns: {', '.join(columns)}")
    try:
        await require_fitting(connection, subscription)
    except PayloadInvalid as error:
        raise _faulty("only", f"cannot be used: {error.problem}") from None
    return [f"{OPTIONS['only'].flag} {warning}" for warning in warnings_of(subscription)]


async def faults_of(
    connection: AsyncConnection[TupleRow], subscriptions: Collection[Subscription]
) -> dict[Subscription, tuple[str, str]]:
    """Check what many endpoints are to get; return the option that is wrong, and what is wrong with it.

    Args:
        connection: To the database.
        subscriptions: What they are to get, of each kind one.
    """
    payloads = await defined_payloads(connection)
    faults: dict[Subscription, tuple[str, str]] = {}
    by_payload: dict[str, list[Subscription]] = {}
    for subscription in subscriptions:
        name = subscription.payload
        if name in payloads:
            by_payload.setdefault(name, []).append(subscription)
        elif subscription != EVERYTHING:  # Without a mapping, the status will say so.
            faults[subscription] = (
                "payload",
                f"payload {name}: the mapping defines no such payload{did_you_mean(name, payloads)}",
            )
    for name, some in by_payload.items():
        columns = (await payload_definition(connection, name)).columns
        unknown = {each: text for each in some if (text := _unknown_column(each, columns)) is not None}
        known = [each for each in some if each not in unknown]
        faults |= {each: ("only", f"only {text}") for each, text in unknown.items()}
        faults |= {each: ("only", error.problem) for each, error in (await unfitting(connection, known)).items()}
    return faults


def _unknown_column(subscription: Subscription, columns: Sequence[str]) -> str | None:
    for condition in subscription.conditions:
        if condition.column not in columns:
            return (
                f'{condition}: the payload "{subscription.payload}" has no column "{condition.column}"'
                f"{did_you_mean(condition.column, columns)}"
            )
    return None


async def known_payload(connection: AsyncConnection[TupleRow], name: str) -> PayloadDefinition:
    """Return the definition of a payload that was named.

    Raises:
        FaultyInput: There is no such payload.
    """
    payloads = await defined_payloads(connection)
    if name not in payloads:
        raise _faulty(
            "payload",
            f"{name}: the mapping defines no such payload{did_you_mean(name, payloads)}",
            f"There are: {', '.join(payloads) or 'none'}",
        )
    return await payload_definition(connection, name)


def _faulty(option: str, problem: str, remedy: str = "") -> FaultyInput:
    return FaultyInput(option_fault(OPTIONS[option], problem, remedy))


def consequences(name: str, before: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Return what a change of options means for what is queued and for what was delivered.

    Args:
        name: The endpoint's name.
        before: What is shown of its options so far.
        stored: The options that are given, in stored form.
    """
    told = []
    if "url" in stored and without_secrets(stored["url"]) != before["url"] and {**before, **stored}["skip_unchanged"]:
        told.append(
            "What was delivered to the URL before counts as delivered: a reservation is sent to the new one when its "
            f"body changes. To send all reservations: cdc-bridge backfill {name} --again"
        )
    changed = {option for option in _OF_SUBSCRIPTION if option in stored and stored[option] != before[option]}
    if changed:
        told.append("Changes that are not delivered yet are sent, or skipped, by the new options.")
    if "payload" in changed:
        told.append(
            "What was delivered before keeps the old content. To send all reservations again: "
            f"cdc-bridge backfill {name} --again"
        )
    if "only" in changed:
        told.append(
            "Reservations that it gets from now on and did not get before are sent with their next change. To send "
            f"them now: cdc-bridge backfill {name}. What it has of others stays there."
        )
    return told


def warnings_of(subscription: Subscription) -> list[str]:
    """Return what to know of its conditions, in words that follow the option's name."""
    columns = [condition.column for condition in subscription.conditions]
    return [_changing(column) for column in columns if _is_likely_to_change(column)]


def _is_likely_to_change(column: str) -> bool:
    return column.lstrip("@").rpartition(".")[2] in _LIKELY_TO_CHANGE


def _changing(column: str) -> str:
    return (
        f"{column}: when {column} changes so that a reservation does not meet the condition any more, the endpoint is "
        "not told and keeps what it has"
    )
