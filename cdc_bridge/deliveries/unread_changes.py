"""Which reservations have a change in the log that an endpoint's ledger lacks and its position does not cover.

They are called anyway. A command that gives the endpoint work leaves them alone: what the daemon has read, called and
not recorded would otherwise, were it killed just then, be called again after something with a higher number.
"""

from __future__ import annotations

from collections.abc import Collection

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


async def with_unread_changes(
    connection: AsyncConnection[TupleRow], endpoint_id: EndpointId, reservation_ids: Collection[ReservationId]
) -> set[ReservationId]:
    """Return those of some reservations that have such a change.

    Raises:
        psycopg.Error: the database could not be read.
    """
    if not reservation_ids:
        return set()
    cursor = await connection.execute(
        _queries["unread_changes"], {"endpoint_id": endpoint_id, "reservation_ids": list(reservation_ids)}
    )
    return {ReservationId(reservation_id) for (reservation_id,) in await cursor.fetchall()}
