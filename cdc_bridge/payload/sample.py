"""Reservations that can probably be loaded, to find out whether a payload is at fault."""

from __future__ import annotations

from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import Session

_queries = load_queries(__name__)


async def sample_reservations(connection: Session, endpoint_id: EndpointId | None = None) -> list[ReservationId]:
    """Return reservations that an endpoint got lately, if one is given, and those that changed last."""
    cursor = await connection.execute(_queries["sample"], {"endpoint_id": endpoint_id})
    return [ReservationId(id_) for (id_,) in await cursor.fetchall()]
