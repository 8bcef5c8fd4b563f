"""Makes a delivery that waits, is dead or is gone due at once.

The body of a call is the reservation as it stands then. So where the ledger has a newer delivery of the same
reservation, that one is made due in the older one's stead, which waits with it: the ledger's order, the newest is tried
for all. And where a newer one was accepted, nothing is left to say: the older one is superseded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.deliveries.delivery_log_lock import delivery_log_locked
from cdc_bridge.deliveries.lookup import DeliveryId, FoundDelivery, find_delivery
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import DeliveryState, Seq
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


class Fate(Enum):
    """What becomes of a delivery that is to be retried."""

    DUE = auto()
    WAITS_WITH_NEWER = auto()
    SUPERSEDED = auto()


@dataclass(frozen=True, slots=True)
class Retried:
    """What was done."""

    delivery: FoundDelivery
    """As it was before."""
    fate: Fate

    def __str__(self) -> str:
        seq, reservation = self.delivery.seq, f"reservation {self.delivery.reservation_id}"
        match self.fate:
            case Fate.DUE:
                return f"{seq} ({reservation}) is due now"
            case Fate.WAITS_WITH_NEWER:
                return f"{seq} ({reservation}): the newer delivery {self.delivery.newest_seq} is due now, for both"
            case Fate.SUPERSEDED:
                newer = self.delivery.newer_accepted_seq
                return f"{seq} ({reservation}) is superseded: the newer delivery {newer} was accepted"


def fate_of(delivery: FoundDelivery) -> Fate:
    """Decide.

    Raises:
        BridgeError: it needs no retry.
    """
    if delivery.state in {DeliveryState.DELIVERED, DeliveryState.SUPERSEDED}:
        was = "was delivered" if delivery.state is DeliveryState.DELIVERED else "is superseded by a newer one"
        raise BridgeError(
            f"{delivery.seq} {was}",
            f"To call its reservation once more: cdc-bridge replay --endpoint {delivery.endpoint} "
            f"--reservation {delivery.reservation_id}",
        )
    if delivery.newer_accepted_seq is not None:
        return Fate.SUPERSEDED
    return Fate.DUE if delivery.is_newest else Fate.WAITS_WITH_NEWER


async def retry(connection: AsyncConnection[TupleRow], wanted: DeliveryId, endpoint_name: str | None) -> Retried:
    """Retry one delivery.

    Raises:
        WrongUsage: several endpoints have it, and none was named.
        BridgeError: there is none, or it needs no retry.
        psycopg.Error: the database could not be used.
    """
    found = await find_delivery(connection, wanted, endpoint_name)
    async with delivery_log_locked(connection, found.endpoint_id):
        delivery = await find_delivery(connection, wanted, found.endpoint)
        fate = fate_of(delivery)
        await _carry_out(connection, delivery, fate)
    return Retried(delivery, fate)


async def _carry_out(connection: AsyncConnection[TupleRow], delivery: FoundDelivery, fate: Fate) -> None:
    def at(seq: Seq) -> dict[str, int]:
        return {"endpoint_id": delivery.endpoint_id, "seq": seq}

    match fate:
        case Fate.DUE:
            await connection.execute(_queries["make_due"], at(delivery.seq))
        case Fate.WAITS_WITH_NEWER:
            await connection.execute(_queries["make_due"], at(delivery.newest_seq))
            await connection.execute(_queries["wait_with_newer"], at(delivery.seq))
        case Fate.SUPERSEDED:
            await connection.execute(_queries["supersede"], at(delivery.seq))
