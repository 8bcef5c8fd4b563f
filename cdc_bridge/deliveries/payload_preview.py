"""The body that would be sent for a reservation now."""

from __future__ import annotations

import json

import orjson

from cdc_bridge.checks.preflight import require_ready
from cdc_bridge.database import one_connection
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import ReservationLoader


async def payload_of(database_url: str, reservation_id: str) -> bytes:
    """Return the reservation's body.

    Raises:
        DatabaseUnavailable: The database does not respond.
        InstallationError: The SQL side is not what is needed.
        BridgeError: There is no such reservation.
    """
    async with one_connection(database_url) as connection:
        await require_ready(connection)
        loaded = await ReservationLoader().load_readable(connection, [ReservationId(reservation_id)])
    for reservation in loaded.reservations.values():
        return reservation.body
    for problem in loaded.unreadable.values():
        raise BridgeError(f"the payload view fails for reservation {reservation_id}: {problem}", "Correct the mapping.")
    raise BridgeError(
        f"there is no reservation {reservation_id}",
        'The id is the reservations table\'s key, as in the column "id" of cdc_bridge.reservation_payload.',
    )


def indented(body: bytes) -> bytes:
    """Return a body indented for reading, with its numbers as they are: a float would round them."""
    exact = json.loads(body, parse_float=orjson.Fragment, parse_int=orjson.Fragment)
    return orjson.dumps(exact, option=orjson.OPT_INDENT_2)
