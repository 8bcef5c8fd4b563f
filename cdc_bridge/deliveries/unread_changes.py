"""Changes in the change log that an endpoint's daemon has not recorded yet: neither delivered nor behind its position.

The daemon delivers them, unless they are filtered or leave the body as it is, so commands that queue deliveries leave
out their reservations. Otherwise a daemon that is killed after it sent such a change, and before it recorded it, would
send it again after something newer.
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
    """Return those of the reservations that have an unread change."""
    if not reservation_ids:
        return set()
    cursor = await connection.execute(
        _queries["unread_changes"], {"endpoint_id": endpoint_id, "reservation_ids": list(reservation_ids)}
    )
    return {ReservationId(reservation_id) for (reservation_id,) in await cursor.fetchall()}
