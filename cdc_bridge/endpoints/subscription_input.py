"""Checks what an operator lets an endpoint get of the reservations: the payload, and the conditions on its columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.did_you_mean import did_you_mean
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.errors import PayloadInvalid, WrongUsage
from cdc_bridge.model import without_secrets
from cdc_bridge.payload.definition import RESERVATION, PayloadDefinition, defined_payloads, payload_definition
from cdc_bridge.payload.subscription import EVERYTHING, Subscription, condition_text, parse_conditions

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
        WrongUsage: There is no such payload or column, or a value cannot be one of the column's type.
    """
    if stored.keys().isdisjoint(("payload", "only")):
        return []
    together = {**(before or {}), **stored}
    try:
        subscription = Subscription(together["payload"], parse_conditions(together["only"]))
    except ValueError as error:  # psql wrote that there.
        raise WrongUsage(f"{OPTIONS['only'].flag} {error}", f"To remove it: {OPTIONS['only'].flag} ''") from None
    if before is None and subscription == EVERYTHING and RESERVATION not in await defined_payloads(connection):
        return []  # There is no mapping yet. The status will say so.
    columns = (await known_payload(connection, subscription.payload)).columns
    for condition in subscription.conditions:
        if condition.column not in columns:
            raise WrongUsage(
                f'{OPTIONS["only"].flag} {condition}: the payload "{subscription.payload}" has no column '
                f'"{condition.column}"{did_you_mean(condition.column, columns)}',
                f"Its columns: {', '.join(columns)}",
            )
    try:
        await condition_text(connection, subscription)
    except PayloadInvalid as error:
        raise WrongUsage(error.problem) from None
    columns = [condition.column for condition in subscription.conditions]
    return [_changing(column) for column in columns if _is_likely_to_change(column)]


async def known_payload(connection: AsyncConnection[TupleRow], name: str) -> PayloadDefinition:
    """Return the definition of a payload that was named.

    Raises:
        WrongUsage: There is no such payload.
    """
    payloads = await defined_payloads(connection)
    if name not in payloads:
        raise WrongUsage(
            f"{OPTIONS['payload'].flag} {name}: the mapping defines no such payload{did_you_mean(name, payloads)}",
            f"There are: {', '.join(payloads) or 'none'}",
        )
    return await payload_definition(connection, name)


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


def _is_likely_to_change(column: str) -> bool:
    return column.lstrip("@").rpartition(".")[2] in _LIKELY_TO_CHANGE


def _changing(column: str) -> str:
    return (
        f"{OPTIONS['only'].flag} {column}: when {column} changes so that a reservation does not meet the condition any "
        "more, the endpoint is not told and keeps what it has"
    )
