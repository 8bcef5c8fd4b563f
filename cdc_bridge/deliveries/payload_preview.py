"""The body that would be sent for a reservation now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from cdc_bridge.database import full_problem_of, one_loading_connection
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.definition import RESERVATION, payload_definition
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.subscription import EVERYTHING
from cdc_bridge.schema.session import command_session
from cdc_bridge.schema.version import require_installed
from cdc_bridge.vendor.payload_schema import agreed_schema
from cdc_bridge.vendor.violations import Fault, faults_of, validator_of


@dataclass(frozen=True, slots=True)
class CurrentBody:
    """The body of a reservation now."""

    body: bytes
    faults: Sequence[Fault]
    """In what it violates the schema that the vendor agreed on."""
    schema_name: str


async def payload_of(database_url: str, reservation_id: str, endpoint_name: str | None = None) -> CurrentBody:
    """Return the reservation's body, and what is wrong with it.

    Args:
        database_url: The database.
        reservation_id: Its key.
        endpoint_name: The endpoint that would get it; ``None``: one without options.

    Raises:
        DatabaseUnavailable: The database does not respond.
        InstallationError: The SQL side is not what is needed.
        PayloadInvalid: The payload does not fit e-Res's tables.
        BridgeError: There is no such reservation, or the endpoint does not get it; or there is no such endpoint.
    """
    subscription = EVERYTHING
    if endpoint_name is not None:
        async with command_session(database_url) as session:
            subscription = (await resolve_endpoint(session, endpoint_name)).subscription
    async with one_loading_connection(database_url) as connection:
        await require_installed(connection)
        definition = await payload_definition(connection, subscription.payload)
        # The operator asks for this reservation, on their terminal: the reason may have its values.
        loader = ReservationLoader(subscription, describe=full_problem_of)
        loaded = await loader.load(connection, [ReservationId(reservation_id)])
    for reservation in loaded.reservations.values():
        return CurrentBody(
            reservation.body,
            faults_of(reservation.body, validator_of(agreed_schema(definition))),
            "the contract" if definition.name == RESERVATION else f'the schema of payload "{definition.name}"',
        )
    for problem in loaded.unreadable.values():
        raise BridgeError(f"reservation {reservation_id} cannot be loaded: {problem}", "Correct it, or the mapping.")
    if loaded.filtered:
        raise BridgeError(
            f"{endpoint_name} does not get reservation {reservation_id}: it gets {subscription}",
            f"To see the whole reservation: cdc-bridge payload {reservation_id}",
        )
    raise BridgeError(
        f"there is no reservation {reservation_id}",
        "The id is the key of the reservations table.",
    )


def indented(body: bytes) -> bytes:
    """Return a body indented for reading, with its numbers as they are: a float would round them."""
    exact = json.loads(body, parse_float=orjson.Fragment, parse_int=orjson.Fragment)
    return orjson.dumps(exact, option=orjson.OPT_INDENT_2)
