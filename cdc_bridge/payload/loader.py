"""Loads reservations through the payload view, many in one query.

One query is one snapshot: a reservation, its customer and its phone call are of one instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import psycopg
from psycopg import AsyncConnection, AsyncCursor, adapters, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from cdc_bridge.database import Database, problem_of
from cdc_bridge.errors import InstallationError
from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.payload.builder import BodyBuilder, Column
from cdc_bridge.payload.formats import TEXT_TYPES, register_formats
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_TEXT_OIDS = frozenset(adapters.types[name].oid for name in TEXT_TYPES)


OF_ONE_ROW = (psycopg.DataError, psycopg.errors.CardinalityViolation, psycopg.errors.RaiseException)
"""Errors that one reservation's values can cause: a cast, a subquery with two rows, a function that raises."""

_BEFORE_THE_VIEW = 2  # key as text, fencing token


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation as it was when it was loaded."""

    id: ReservationId
    subject: str
    """Its ``id`` as the body has it."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Loaded:
    """Some reservations, read in one snapshot."""

    reservations: dict[ReservationId, Reservation]
    fencing_token: int | None
    """The endpoint's fencing token in that snapshot; ``None``: no endpoint was given, or no reservation was found."""
    unreadable: dict[ReservationId, str] = field(default_factory=dict)
    """Those that the view fails for, as on a value that it cannot cast, and why."""

    def with_more(self, later: Loaded) -> Loaded:
        """Return it with what was loaded in a later snapshot."""
        return Loaded(
            self.reservations | later.reservations,
            self.fencing_token if later.fencing_token is None else later.fencing_token,
            self.unreadable | later.unreadable,
        )


class ReservationLoader:
    """Loads reservations by their keys, using the key's index whatever its type.

    The shape of the view is read from each result, so that a DBA may replace the view under a running daemon.
    """

    def __init__(self) -> None:
        self._statement: bytes | None = None
        self._shape: list[tuple[bytes | None, int]] = []
        self._id_index = 0
        self._builder = BodyBuilder([])

    async def load(
        self,
        connection: AsyncConnection,
        reservation_ids: Sequence[ReservationId],
        endpoint_id: EndpointId | None = None,
    ) -> Loaded:
        """Return those of the reservations that exist.

        Args:
            connection: The connection.
            reservation_ids: Their keys.
            endpoint_id: The endpoint whose fencing token is read as well.

        Raises:
            InstallationError: The view is missing.
            psycopg.DataError: A key is not of the key column's type.
        """
        statement = self._statement or await self._compose(connection)
        parameters = {"reservation_ids": list(reservation_ids), "endpoint_id": endpoint_id}
        async with connection.cursor() as cursor:
            register_formats(cursor)
            # A prepared statement fails once the view has other columns, and that would end a transaction.
            prepare = None if connection.info.transaction_status is TransactionStatus.IDLE else False
            try:
                await cursor.execute(statement, parameters, prepare=prepare)
            except psycopg.errors.FeatureNotSupported:
                if prepare is False:
                    raise
                await connection.execute("deallocate all")  # psycopg forgets what it has prepared as well
                await cursor.execute(statement, parameters)
            return self._build(cursor, await cursor.fetchall())

    async def load_readable(
        self,
        connection: AsyncConnection,
        reservation_ids: Sequence[ReservationId],
        endpoint_id: EndpointId | None = None,
    ) -> Loaded:
        """Return those of the reservations that exist; one that the view fails for does not hide the others.

        Raises:
            InstallationError: The view is missing.
        """
        try:
            return await self.load(connection, reservation_ids, endpoint_id)
        except OF_ONE_ROW as error:
            if len(reservation_ids) == 1:
                return Loaded({}, None, {reservation_ids[0]: problem_of(error)})
        half = len(reservation_ids) // 2
        earlier = await self.load_readable(connection, reservation_ids[:half], endpoint_id)
        return earlier.with_more(await self.load_readable(connection, reservation_ids[half:], endpoint_id))

    def _build(self, cursor: AsyncCursor[TupleRow], rows: list[TupleRow]) -> Loaded:
        self._note_shape(cursor)
        reservations = {
            row[0]: Reservation(
                ReservationId(row[0]), str(row[self._id_index]), self._builder.build(row[_BEFORE_THE_VIEW:])
            )
            for row in rows
        }
        fencing_token = rows[0][1] if rows else None
        return Loaded(reservations, None if fencing_token is None else int(fencing_token))

    def _note_shape(self, cursor: AsyncCursor[TupleRow]) -> None:
        result = cursor.pgresult
        # Not the cursor's description: to make that takes longer than to load a reservation.
        shape = [(result.fname(index), result.ftype(index)) for index in range(result.nfields)] if result else []
        if shape != self._shape:
            described = (cursor.description or [])[_BEFORE_THE_VIEW:]
            columns = [Column(column.name, column.type_code in _TEXT_OIDS) for column in described]
            self._shape, self._builder = shape, BodyBuilder(columns)
            self._id_index = [column.name for column in columns].index("id") + _BEFORE_THE_VIEW

    async def _compose(self, connection: AsyncConnection) -> bytes:
        composed = sql.SQL(_queries["load_reservations"]).format(key_type=await key_type(connection))
        self._statement = composed.as_bytes(connection)
        return self._statement


class EndpointReservations:
    """The reservations, as the pipeline of one endpoint loads them."""

    def __init__(self, database: Database, endpoint_id: EndpointId) -> None:
        self._database = database
        self._endpoint_id = endpoint_id
        self._loader = ReservationLoader()

    async def load(self, reservation_ids: Sequence[ReservationId]) -> Loaded:
        """Return those of the reservations that exist, and the endpoint's fencing token."""
        return await self._database.patiently(
            partial(self._loader.load_readable, reservation_ids=reservation_ids, endpoint_id=self._endpoint_id)
        )


async def key_type(connection: AsyncConnection[TupleRow]) -> sql.SQL:
    """Return the type of the reservations' key, as written in a cast.

    Raises:
        InstallationError: The payload view or its key is missing.
    """
    cursor = await connection.execute(_queries["key_type"])
    record = await cursor.fetchone()
    if record is None:
        raise InstallationError(
            'the view cdc_bridge.reservation_payload, or its column "id", is missing',
            "Install the mapping: cdc-bridge install",
        )
    return sql.SQL(record[0])


async def payload_columns(connection: AsyncConnection[TupleRow]) -> dict[str, str]:
    """Return the columns of the payload view in their order, each with its type; empty if there is no view."""
    cursor = await connection.execute(_queries["payload_columns"])
    return dict(await cursor.fetchall())
