"""Erases a reservation from the change log and the delivery log: its key may tell who the guest is."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record
from cdc_bridge.model import ReservationId
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased, and what is still to be delivered and stays."""

    changes_erased: int
    deliveries_erased: int
    changes_left: int
    deliveries_left: int

    @property
    def complete(self) -> bool:
        """Whether nothing of the reservation is left."""
        return not self.changes_left and not self.deliveries_left


async def erase(connection: AsyncConnection[TupleRow], reservation_id: ReservationId, *, by: Actor) -> Erasure:
    """Erase what is settled of a reservation. Safe to repeat. The audit log tells who did it, and not of which one."""
    async with connection.transaction(), connection.cursor(row_factory=class_row(Erasure)) as cursor:
        await cursor.execute(_queries["erase"], {"reservation_id": reservation_id})
        (erased,) = await cursor.fetchall()
        await record(
            connection,
            by,
            Action.RESERVATION_ERASED,
            changes=erased.changes_erased,
            deliveries=erased.deliveries_erased,
        )
    return erased
