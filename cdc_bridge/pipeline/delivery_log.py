"""The delivery log in the database: the state of each delivery, and each endpoint's position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.change_log import PAGE_BYTES, operation_of
from cdc_bridge.capture.position import Position
from cdc_bridge.database import ServerDatabase
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.errors import LeaseLost
from cdc_bridge.model import Change, History, Operation, ReservationId, Seq, SkipReason
from cdc_bridge.pipeline.in_flight import DueRetry, InFlight
from cdc_bridge.queries import load_queries
from cdc_bridge.transport.message import history_of

_queries = load_queries(__name__)


class DeliveryLog:
    """The delivery log of one endpoint, under one lease."""

    def __init__(self, database: ServerDatabase, lease: Lease) -> None:
        self._database = database
        self._endpoint_id = lease.endpoint_id
        self._lease = lease

    async def record(self, deliveries: Sequence[InFlight], position: Position) -> None:
        """Write deliveries and the position that they allow, in one transaction.

        Repeating it, where it is not known whether it was committed, changes nothing but the counts of what is skipped.

        Raises:
            LeaseLost: Another daemon has acquired the lease; nothing was written.
            StatementFailed: PostgreSQL rejected a statement or a delivery; nothing was written.
        """
        ours = {
            "endpoint_id": self._endpoint_id,
            "fencing_token": self._lease.fencing_token,
            "endpoint_table": self._lease.server.endpoint_table,
        }
        settled = ours | {"settlements": orjson.dumps([_row(delivery) for delivery in deliveries]).decode()}
        newest = ours | {
            "seqs": [delivery.change.seq for delivery in deliveries],
            "reservation_ids": [delivery.change.reservation_id for delivery in deliveries],
            "states": [delivery.state.value for delivery in deliveries],
            "skip_reasons": [delivery.skip_reason for delivery in deliveries],
        }
        place = position.place
        skipped = Counter(delivery.skip_reason for delivery in deliveries)
        reached = (
            ours
            | {f"skipped_{reason}": skipped[reason] for reason in SkipReason}
            | {
                "position": str(position.snapshot),
                "place_xid": None if place is None else str(place.xid),
                "place_seq": None if place is None else place.seq,
            }
        )

        async def write(connection: AsyncConnection[TupleRow]) -> int:
            # All in one round trip, COMMIT included: a process that is frozen in between would leave its locks to the
            # others.
            async with connection.pipeline(), connection.transaction():
                # First, as it locks the endpoint's row: nobody acquires the lease while the others are written.
                moved = await connection.execute(_queries["move_position"], reached)
                await connection.execute(_queries["record_deliveries"], settled)
                await connection.execute(_queries["settle_older"], newest)
            return moved.rowcount

        if await self._database.patiently(write) == 0:
            raise LeaseLost("another daemon has acquired the lease of the endpoint")

    async def last_bodies(self, reservation_ids: Sequence[ReservationId], history: History) -> dict[ReservationId, str]:
        """Return the hash of the body that was delivered last, of those of which the endpoint surely has no other.

        Not where a request was sent since, whatever became of it. And not what was delivered in an earlier history: a
        fail-over may have lost what was delivered after it.
        """
        rows = await self._rows("last_bodies", reservation_ids=list(reservation_ids))
        delivered = ((ReservationId(id_), *message_id.split("-", 1)) for id_, message_id in rows)
        return {id_: hash_ for id_, sequence, hash_ in delivered if history_of(int(sequence)) == history}

    async def with_newer_unread(self) -> set[ReservationId] | None:
        """Return the reservations with a delivery to retry and a newer change after the recorded position.

        ``None``: there are more than are good to keep in memory.
        """
        rows = await self._rows("with_newer_unread", max_bytes=PAGE_BYTES)
        if rows and rows[-1][1] >= PAGE_BYTES:
            return None
        return {ReservationId(reservation_id) for reservation_id, _ in rows}

    async def seconds_until_next_due(self, occupied: Collection[ReservationId]) -> float | None:
        """Return the time until the next retry of no ``occupied`` reservation; ``None``: there is none."""
        rows = await self._rows("seconds_until_next_due", occupied=list(occupied))
        return rows[0][0] if rows else None

    async def due_retries(self, occupied: Collection[ReservationId], limit: int) -> list[DueRetry]:
        """Return deliveries whose next attempt is due, but none of the ``occupied`` reservations."""
        rows = await self._rows("due_retries", occupied=list(occupied), limit=limit, max_bytes=PAGE_BYTES)
        return [_due_retry(row) for row in rows]

    async def _rows(self, statement: str, **parameters: object) -> list[TupleRow]:
        async def read(connection: AsyncConnection[TupleRow]) -> list[TupleRow]:
            cursor = await connection.execute(_queries[statement], parameters | {"endpoint_id": self._endpoint_id})
            return await cursor.fetchall()

        return await self._database.patiently(read)


def _row(delivery: InFlight) -> dict[str, object]:
    change, attempt = delivery.change, delivery.last_attempt
    return {
        "seq": change.seq,
        "reservation_id": change.reservation_id,
        "operation": "I" if change.operation is Operation.CREATED else "U",
        "changed_at": change.changed_at,
        "state": delivery.state,
        "skip_reason": delivery.skip_reason,
        "attempts": delivery.attempts,
        "failures": delivery.failures,
        "pause": delivery.pause_seconds,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
        "message_id": attempt and attempt.message_id,
        "last_attempt_at": attempt and attempt.began_at,
        "duration": attempt and attempt.duration_seconds,
    }


def _due_retry(row: TupleRow) -> DueRetry:
    seq, reservation_id, operation, changed_at, attempts, failures, overtaken = row
    change = Change(Seq(seq), ReservationId(reservation_id), operation_of(operation), changed_at)
    return DueRetry(change, attempts, failures, overtaken)
