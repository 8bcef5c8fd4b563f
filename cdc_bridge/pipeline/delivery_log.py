"""The ledger in the database: what became of each delivery, and how far each endpoint is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.change_log import operation_of
from cdc_bridge.capture.position import Position
from cdc_bridge.errors import LeaseLost
from cdc_bridge.model import Change, Delivery, EndpointId, Operation, ReservationId, Seq
from cdc_bridge.pipeline.settlement import Settlement
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


async def record(
    connection: AsyncConnection[TupleRow],
    endpoint_id: EndpointId,
    fencing_token: int,
    settlements: Sequence[Settlement],
    position: Position,
) -> None:
    """Write settlements and the position they allow, in one transaction. Repeating it changes nothing.

    Raises:
        LeaseLost: another daemon has taken the endpoint; nothing was written.
        psycopg.Error: the database could not be written.
    """
    ours = {"endpoint_id": endpoint_id, "fencing_token": fencing_token}
    deliveries = ours | {"settlements": orjson.dumps([_row(settlement) for settlement in settlements]).decode()}
    newest = ours | {
        "seqs": [settlement.change.seq for settlement in settlements],
        "reservation_ids": [settlement.change.reservation_id for settlement in settlements],
        "states": [settlement.state.value for settlement in settlements],
        "skip_reasons": [settlement.skip_reason for settlement in settlements],
    }
    place = position.place
    progress = ours | {
        "position": str(position.snapshot),
        "place_xid": None if place is None else str(place.xid),
        "place_seq": None if place is None else place.seq,
    }
    # All at once, COMMIT included: a process that is frozen in between would leave its locks to the others.
    async with connection.pipeline(), connection.transaction():
        # First, as it locks the endpoint's row: nobody takes the endpoint while the others are written.
        moved = await connection.execute(_queries["move_position"], progress)
        await connection.execute(_queries["record_deliveries"], deliveries)
        await connection.execute(_queries["settle_older"], newest)
    if moved.rowcount == 0:
        raise LeaseLost("another daemon has taken the endpoint over")


def _row(settlement: Settlement) -> dict[str, object]:
    change, attempt = settlement.change, settlement.last_attempt
    return {
        "seq": change.seq,
        "reservation_id": change.reservation_id,
        "operation": "I" if change.operation is Operation.CREATED else "U",
        "changed_at": change.changed_at,
        "state": settlement.state,
        "skip_reason": settlement.skip_reason,
        "attempts": settlement.attempts,
        "failures": settlement.failures,
        "pause": settlement.pause_seconds,
        "last_status": settlement.last_status,
        "last_error": settlement.last_error,
        "message_id": attempt and attempt.message_id,
        "last_attempt_at": attempt and attempt.began_at,
        "duration": attempt and attempt.duration_seconds,
    }


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A waiting delivery whose next attempt is due."""

    delivery: Delivery
    overtaken: bool
    """A newer change of its reservation was delivered, so a call now would go back in time."""


async def due_deliveries(
    connection: AsyncConnection[TupleRow], endpoint_id: EndpointId, occupied: Collection[ReservationId], limit: int
) -> list[DueDelivery]:
    """Return waiting deliveries whose next attempt is due, but none of the ``occupied`` reservations.

    Raises:
        psycopg.Error: the database could not be read.
    """
    parameters = {"endpoint_id": endpoint_id, "occupied": list(occupied), "limit": limit}
    cursor = await connection.execute(_queries["due_deliveries"], parameters)
    return [_due_delivery(record) for record in await cursor.fetchall()]


def _due_delivery(record: TupleRow) -> DueDelivery:
    seq, reservation_id, operation, changed_at, attempts, failures, overtaken = record
    change = Change(Seq(seq), ReservationId(reservation_id), operation_of(operation), changed_at)
    return DueDelivery(Delivery(change, attempts, failures), overtaken)


async def seconds_until_next_due(
    connection: AsyncConnection[TupleRow], endpoint_id: EndpointId, occupied: Collection[ReservationId]
) -> float | None:
    """Return how long until a waiting delivery of no ``occupied`` reservation is due; ``None`` if none waits.

    Raises:
        psycopg.Error: the database could not be read.
    """
    parameters = {"endpoint_id": endpoint_id, "occupied": list(occupied)}
    cursor = await connection.execute(_queries["seconds_until_next_due"], parameters)
    found = await cursor.fetchone()
    return found[0] if found else None


async def with_newer_unread(connection: AsyncConnection[TupleRow], endpoint_id: EndpointId) -> set[ReservationId]:
    """Return the reservations of which a delivery waits below a newer change that the recorded position does not cover.

    Raises:
        psycopg.Error: the database could not be read.
    """
    cursor = await connection.execute(_queries["with_newer_unread"], {"endpoint_id": endpoint_id})
    return {ReservationId(reservation_id) for (reservation_id,) in await cursor.fetchall()}
