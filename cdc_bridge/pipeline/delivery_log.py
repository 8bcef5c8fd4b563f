"""The delivery log of one endpoint: the state of each of its deliveries, and what is to be retried when."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Protocol

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.change_log import PAGE_BYTES, operation_of
from cdc_bridge.capture.position import Position
from cdc_bridge.database import ServerDatabase
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.model import Change, EndpointId, History, ReservationId, Seq
from cdc_bridge.pipeline.delivery_log_writer import DeliveryLogWriter
from cdc_bridge.pipeline.in_flight import DueRetry, InFlight, KeptAttempt
from cdc_bridge.queries import load_queries
from cdc_bridge.transport.message import history_of

_queries = load_queries(__name__)


class RetryTimes(Protocol):
    """When the next retry of each endpoint is due."""

    notes: int
    """How often something was noted."""

    def note(self, endpoint_id: EndpointId, seconds: float) -> None:
        """Note when a retry that was just recorded is due."""

    def reached(self, endpoint_id: EndpointId, seconds: float | None, notes: int) -> None:
        """Note what the delivery log said when so much was noted: when the next one is due, or that there is none."""

    async def asked(self, endpoint_id: EndpointId) -> None:
        """Wait until the delivery log was asked for the retries of an endpoint."""

    def has_any(self, endpoint_id: EndpointId) -> bool:
        """Return whether an endpoint may have a delivery to retry."""


class DeliveryLog:
    """The delivery log of one endpoint, under one lease."""

    def __init__(
        self,
        database: ServerDatabase,
        lease: Lease,
        writer: DeliveryLogWriter,
        follows: Callable[[], bool] = lambda: False,
        retry_times: RetryTimes | None = None,
    ) -> None:
        """Prepare to read and write.

        Args:
            database: The server that the lease was acquired on.
            lease: The endpoint's.
            writer: Writes for all endpoints.
            follows: Says whether the endpoint's position is the daemon's.
            retry_times: Knows when retries are due, of all endpoints.
        """
        self._retry_times = retry_times
        self._database = database
        self._endpoint_id = lease.endpoint_id
        self._lease = lease
        self._writer = writer
        self._follows = follows

    async def record(
        self,
        deliveries: Sequence[InFlight],
        position: Position,
        attempts: Sequence[KeptAttempt] = (),
        *,
        alone: bool = False,
    ) -> None:
        """Write deliveries and the position that they allow, in one transaction.

        Args:
            deliveries: The deliveries.
            position: The position.
            attempts: Attempts to keep, if that can be done.
            alone: Whether rows of them were locked before.

        Raises:
            LeaseLost: Another daemon has acquired the lease; nothing was written.
            StatementFailed: PostgreSQL rejected a statement or a delivery; nothing was written.
            RowsLocked: Somebody has locked a delivery; nothing was written.
        """
        own = partial(self._own_position, position)
        await self._writer.record(self._lease, deliveries, own, attempts, alone=alone)
        pauses = [delivery.pause_seconds for delivery in deliveries if delivery.pause_seconds is not None]
        if pauses and self._retry_times is not None:
            self._retry_times.note(self._endpoint_id, min(pauses))

    def _own_position(self, position: Position) -> Position | None:
        return None if self._follows() else position

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
        # The statement reads all that is unread: for each of thousands of endpoints, that would take for ever.
        if (times := self._retry_times) is not None:
            await times.asked(self._endpoint_id)
            if not times.has_any(self._endpoint_id):
                return set()
        rows = await self._rows("with_newer_unread", max_bytes=PAGE_BYTES)
        if rows and rows[-1][1] >= PAGE_BYTES:
            return None
        return {ReservationId(reservation_id) for reservation_id, _ in rows}

    async def seconds_until_next_due(self, occupied: Collection[ReservationId]) -> float | None:
        """Return the time until the next retry of no ``occupied`` reservation; ``None``: there is none."""
        times = self._retry_times
        if times is not None and not times.has_any(self._endpoint_id):
            return None
        notes = 0 if times is None else times.notes
        rows = await self._rows("seconds_until_next_due", occupied=list(occupied))
        seconds = rows[0][0] if rows else None
        if times is not None and not occupied:
            times.reached(self._endpoint_id, seconds, notes)
        return seconds

    async def due_retries(self, occupied: Collection[ReservationId], limit: int) -> list[DueRetry]:
        """Return deliveries whose next attempt is due, but none of the ``occupied`` reservations."""
        rows = await self._rows("due_retries", occupied=list(occupied), limit=limit, max_bytes=PAGE_BYTES)
        return [_due_retry(row) for row in rows]

    async def _rows(self, statement: str, **parameters: object) -> list[TupleRow]:
        async def read(connection: AsyncConnection[TupleRow]) -> list[TupleRow]:
            cursor = await connection.execute(_queries[statement], parameters | {"endpoint_id": self._endpoint_id})
            return await cursor.fetchall()

        return await self._database.patiently(read)


async def next_due(
    connection: AsyncConnection[TupleRow], endpoint_ids: Collection[EndpointId]
) -> dict[EndpointId, float]:
    """Return the seconds until the next retry, negative if it is due, of those of some endpoints that have any."""
    cursor = await connection.execute(_queries["next_due"], {"endpoint_ids": list(endpoint_ids)})
    return {EndpointId(endpoint_id): seconds for endpoint_id, seconds in await cursor.fetchall()}


def _due_retry(row: TupleRow) -> DueRetry:
    seq, reservation_id, operation, changed_at, attempts, failures, overtaken = row
    change = Change(Seq(seq), ReservationId(reservation_id), operation_of(operation), changed_at)
    return DueRetry(change, attempts, failures, overtaken)
