"""Retries one pending, dead or skipped delivery now.

The body is the reservation's current state. So if a newer delivery of the same reservation exists, that one is made due
and covers both, as the order of deliveries demands. If a newer one was delivered, nothing is left to send: the
older one is superseded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record
from cdc_bridge.deliveries.delivery_log_lock import delivery_log_locked
from cdc_bridge.deliveries.lookup import DeliveryDetails, DeliveryId, find_delivery
from cdc_bridge.errors import Conflict
from cdc_bridge.model import DeliveryState, Seq
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


class RetryAction(Enum):
    """What a retry does to a delivery."""

    DUE = auto()
    NEWER_DUE = auto()
    SUPERSEDED = auto()


@dataclass(frozen=True, slots=True)
class RetryResult:
    """What a retry did."""

    delivery: DeliveryDetails
    """The delivery as it was before."""
    action: RetryAction

    def __str__(self) -> str:
        seq, reservation = self.delivery.seq, f"reservation {self.delivery.reservation_id}"
        match self.action:
            case RetryAction.DUE:
                return f"{seq} ({reservation}) is due now"
            case RetryAction.NEWER_DUE:
                return f"{seq} ({reservation}): the newer delivery {self.delivery.newest_seq} is due now, for both"
            case RetryAction.SUPERSEDED:
                newer = self.delivery.newer_delivered_seq
                return f"{seq} ({reservation}) is superseded: the newer delivery {newer} was successful"


def plan_retry(delivery: DeliveryDetails) -> RetryAction:
    """Decide what a retry does.

    Raises:
        Conflict: The delivery needs no retry.
    """
    if delivery.state in {DeliveryState.DELIVERED, DeliveryState.SUPERSEDED}:
        state = "was delivered" if delivery.state is DeliveryState.DELIVERED else "is superseded by a newer one"
        raise Conflict(
            f"{delivery.seq} {state}",
            f"To send its reservation again: cdc-bridge replay --endpoint {delivery.endpoint} "
            f"--reservation {delivery.reservation_id}",
        )
    if delivery.newer_delivered_seq is not None:
        return RetryAction.SUPERSEDED
    return RetryAction.DUE if delivery.is_newest else RetryAction.NEWER_DUE


async def retry(
    connection: AsyncConnection[TupleRow], delivery_id: DeliveryId, endpoint_name: str | None, *, by: Actor
) -> RetryResult:
    """Retry one delivery.

    Raises:
        WrongUsage: Several endpoints have it, and none was named.
        NotFound: There is no such delivery.
        Conflict: It needs no retry.
    """
    unlocked = await find_delivery(connection, delivery_id, endpoint_name)
    async with delivery_log_locked(connection, unlocked.endpoint_id):
        delivery = await find_delivery(connection, delivery_id, unlocked.endpoint)
        action = plan_retry(delivery)
        await _carry_out(connection, delivery, action)
        await record(connection, by, Action.DELIVERY_RETRIED, delivery.endpoint, delivery=delivery.seq)
    return RetryResult(delivery, action)


async def _carry_out(connection: AsyncConnection[TupleRow], delivery: DeliveryDetails, action: RetryAction) -> None:
    def at(seq: Seq) -> dict[str, int]:
        return {"endpoint_id": delivery.endpoint_id, "seq": seq}

    match action:
        case RetryAction.DUE:
            await connection.execute(_queries["make_due"], at(delivery.seq))
        case RetryAction.NEWER_DUE:
            await connection.execute(_queries["make_due"], at(delivery.newest_seq))
            await connection.execute(_queries["queue_behind_newer"], at(delivery.seq))
        case RetryAction.SUPERSEDED:
            await connection.execute(_queries["supersede"], at(delivery.seq))
