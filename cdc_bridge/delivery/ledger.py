"""The ledger in the database: what became of each delivery, and how far the endpoint is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.change_log import operation_of
from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.delivery.settlement import Settlement
from cdc_bridge.errors import InstallationError
from cdc_bridge.model import Change, Delivery, EndpointId, Operation, ReservationId, Seq, Xid
from cdc_bridge.queries import queries


@dataclass(frozen=True, slots=True)
class EndpointPosition:
    """An endpoint's number and how far it is."""

    endpoint_id: EndpointId
    position: Position


async def register_endpoint(connection: AsyncConnection[TupleRow], name: str, *, from_oldest: bool) -> EndpointPosition:
    """Make an endpoint known if it is not, and return how far it is.

    Args:
        connection: to the database.
        name: the endpoint's.
        from_oldest: a new endpoint begins with the oldest change kept, else with what is committed from now on.

    Raises:
        InstallationError: the position was recorded in another cluster, whose transaction ids mean nothing here.
        psycopg.Error: the database could not be used.
    """
    await connection.execute(queries["register_endpoint"], {"name": name, "from_oldest": from_oldest})
    cursor = await connection.execute(queries["endpoint_position"], {"name": name})
    record = await cursor.fetchone()
    if record is None:
        raise InstallationError(f"endpoint {name} was removed while the daemon started", "Start it again.")
    endpoint_id, position, place_xid, place_seq, same_cluster = record
    if not same_cluster:
        raise InstallationError(
            f"endpoint {name} has a position of another PostgreSQL cluster: this database was restored from a dump",
            "Transaction ids of the old cluster mean nothing here. To begin anew with what is committed from now on, "
            f"empty cdc_bridge.change and remove the row of {name} from cdc_bridge.endpoint; then start again.",
        )
    place = None if place_xid is None else Place(Xid(place_xid), Seq(place_seq))
    return EndpointPosition(EndpointId(endpoint_id), Position(Snapshot.parse(position), place))


async def record(
    connection: AsyncConnection[TupleRow],
    endpoint_id: EndpointId,
    settlements: Sequence[Settlement],
    position: Position,
) -> None:
    """Write settlements and the position they allow, in one transaction. Repeating it changes nothing.

    Raises:
        psycopg.Error: the database could not be written.
    """
    attempts = [settlement.last_attempt for settlement in settlements]
    newest = {
        "endpoint_id": endpoint_id,
        "seqs": [settlement.change.seq for settlement in settlements],
        "reservation_ids": [settlement.change.reservation_id for settlement in settlements],
        "states": [settlement.state.value for settlement in settlements],
    }
    deliveries = newest | {
        "operations": ["I" if s.change.operation is Operation.CREATED else "U" for s in settlements],
        "changed_ats": [settlement.change.changed_at for settlement in settlements],
        "attempts": [settlement.attempts for settlement in settlements],
        "failures": [settlement.failures for settlement in settlements],
        "pauses_seconds": [settlement.pause_seconds for settlement in settlements],
        "last_statuses": [settlement.last_status for settlement in settlements],
        "last_errors": [settlement.last_error for settlement in settlements],
        "message_ids": [attempt and attempt.message_id for attempt in attempts],
        "last_attempt_ats": [attempt and attempt.began_at for attempt in attempts],
        "durations_seconds": [attempt and attempt.duration_seconds for attempt in attempts],
    }
    place = position.place
    progress = {
        "endpoint_id": endpoint_id,
        "position": str(position.snapshot),
        "place_xid": None if place is None else str(place.xid),
        "place_seq": None if place is None else place.seq,
    }
    async with connection.transaction(), connection.pipeline():
        await connection.execute(queries["record_deliveries"], deliveries)
        await connection.execute(queries["settle_older"], newest)
        await connection.execute(queries["move_position"], progress)


async def due_deliveries(
    connection: AsyncConnection[TupleRow], endpoint_id: EndpointId, occupied: Collection[ReservationId], limit: int
) -> list[Delivery]:
    """Return waiting deliveries whose next attempt is due, but none of the ``occupied`` reservations.

    Raises:
        psycopg.Error: the database could not be read.
    """
    parameters = {"endpoint_id": endpoint_id, "occupied": list(occupied), "limit": limit}
    cursor = await connection.execute(queries["due_deliveries"], parameters)
    return [
        Delivery(
            Change(Seq(seq), ReservationId(reservation_id), operation_of(operation), changed_at), attempts, failures
        )
        for seq, reservation_id, operation, changed_at, attempts, failures in await cursor.fetchall()
    ]


async def seconds_until_next_due(
    connection: AsyncConnection[TupleRow], endpoint_id: EndpointId, occupied: Collection[ReservationId]
) -> float | None:
    """Return how long until a waiting delivery of no ``occupied`` reservation is due; ``None`` if none waits.

    Raises:
        psycopg.Error: the database could not be read.
    """
    parameters = {"endpoint_id": endpoint_id, "occupied": list(occupied)}
    cursor = await connection.execute(queries["seconds_until_next_due"], parameters)
    found = await cursor.fetchone()
    return found[0] if found else None
