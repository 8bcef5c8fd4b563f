"""The body that would be sent for a reservation now."""

from __future__ import annotations

import json

import orjson

from cdc_bridge.database import full_problem_of, one_loading_connection
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.schema.version import require_installed


async def payload_of(database_url: str, reservation_id: str) -> bytes:
    """Return the reservation's body.

    Raises:
        DatabaseUnavailable: The database does not respond.
        InstallationError: The SQL side is not what is needed.
        PayloadInvalid: The payload does not fit e-Res's tables.
        BridgeError: There is no such reservation.
    """
    async with one_loading_connection(database_url) as connection:
        await require_installed(connection)
        # The operator asks for this reservation, on their terminal: the reason may have its values.
        loaded = await ReservationLoader(describe=full_problem_of).load(connection, [ReservationId(reservation_id)])
    for reservation in loaded.reservations.values():
        return reservation.body
    for problem in loaded.unreadable.values():
        raise BridgeError(f"reservation {reservation_id} cannot be loaded: {problem}", "Correct it, or the mapping.")
    raise BridgeError(
        f"there is no reservation {reservation_id}",
        "The id is the key of the reservations table.",
    )


def indented(body: bytes) -> bytes:
    """Return a body indented for reading, with its numbers as they are: a float would round them."""
    exact = json.loads(body, parse_float=orjson.Fragment, parse_int=orjson.Fragment)
    return orjson.dumps(exact, option=orjson.OPT_INDENT_2)
