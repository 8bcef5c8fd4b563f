"""Reads the columns that a page of reservations is routed by, whatever some of them make PostgreSQL do."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from functools import partial

import psycopg
from psycopg import errors

from cdc_bridge.database import ServerDatabase
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.column_values import ColumnValues, Texts, parts_of, read_values, read_values_of_few
from cdc_bridge.payload.definition import PayloadDefinition, payload_definition
from cdc_bridge.payload.isolated import may_pass
from cdc_bridge.payload.suspects import SuspectReservations
from cdc_bridge.sessions import LoadingConnection

_FEW = 48
"""Reservations up to which the cached plan of the function that loads them is faster than a plan for the columns."""
_TOO_FEW_TO_TELL = 2
"""Reservations that may all be unreadable while the payload is not at fault."""


class _Trouble(Enum):
    """Why columns of some reservations could not be read."""

    ROWS = auto()
    SUSPECTS = auto()
    PAYLOAD = auto()
    DEFINED_ANEW = auto()


class RoutingColumns:
    """Reads columns of a page of reservations, whatever some of them make PostgreSQL do."""

    def __init__(
        self,
        database: ServerDatabase,
        definition: PayloadDefinition,
        columns: Sequence[str],
        statement_for_few: bytes,
        suspects: SuspectReservations,
    ) -> None:
        """Prepare to read.

        Args:
            database: Has the reservations.
            definition: The payload's.
            columns: Its columns to read.
            statement_for_few: The statement that reads them of a few reservations.
            suspects: The reservations that may end sessions.
        """
        self._database = database
        self._definition = definition
        self._columns = columns
        self._statement_for_few = statement_for_few
        self._suspects = suspects
        self.rows: dict[ReservationId, Sequence[Texts]] = {}
        """The columns' canonical text in each row of each reservation; none: the payload has no such reservation."""
        self.unreadable: set[ReservationId] = set()
        """Those whose columns cannot be read."""
        self.unestablished: set[ReservationId] = set()
        """Those of which nothing can be said now."""

    async def read(self, reservation_ids: Sequence[ReservationId]) -> bool:
        """Read some reservations; return whether the payload is still defined as it was."""
        parts = self._without_suspects(reservation_ids)
        while (
            parts
        ):  # Rows at fault are found, and remembered, one after the other: the next time begins with more known.
            part = parts.pop()
            match await self._database.load_patiently(partial(self._read_part, part=part)):
                case _Trouble.DEFINED_ANEW:
                    return False
                case _Trouble.PAYLOAD:
                    self.unestablished.update(reservation_ids)
                    return True
                case _Trouble.SUSPECTS:
                    parts.extend(self._without_suspects(part))
                case _Trouble.ROWS if len(part) > 1:
                    parts.extend(parts_of(part))
                case _Trouble.ROWS:
                    self.unreadable.update(part)
                case ColumnValues(revision=self._definition.revision) as values:
                    self._add(values)
                case _:
                    return False
        if len(self.unreadable) > _TOO_FEW_TO_TELL and len(self.unreadable) == len(reservation_ids):
            self.unestablished, self.unreadable = self.unreadable, set()
        return True

    def _without_suspects(self, part: Sequence[ReservationId]) -> list[Sequence[ReservationId]]:
        """Divide reservations into those that may be read together, and each of the others."""
        alone = [id_ for id_ in part if self._suspects.is_alone(id_)]
        together = [id_ for id_ in part if id_ not in alone] if alone else part
        return [*([together] if together else []), *([id_] for id_ in alone)]

    def _add(self, values: ColumnValues) -> None:
        self._suspects.passed(values.rows)
        for id_, rows in values.rows.items():
            if rows or values.problem_of_capture is None:
                self.rows[id_] = rows
            else:
                self.unestablished.add(id_)

    async def _read_part(self, connection: LoadingConnection, part: Sequence[ReservationId]) -> ColumnValues | _Trouble:
        is_alone = any(self._suspects.is_alone(id_) for id_ in part)
        if is_alone and len(part) > 1:
            return _Trouble.SUSPECTS
        if self._suspects.is_left_out(part[0]):
            return _Trouble.ROWS
        try:
            return await self._read_columns(connection, part)
        except psycopg.Error as error:
            if connection.closed or (not is_alone and may_pass(error, connection)):
                self._suspects.failed(part)
                raise
            if len(part) == 1 and isinstance(error, errors.QueryCanceled):
                self._suspects.slow(part)
        return await self._payload_trouble(connection) or _Trouble.ROWS

    async def _read_columns(self, connection: LoadingConnection, part: Sequence[ReservationId]) -> ColumnValues:
        if len(part) <= _FEW:
            try:
                return await read_values_of_few(connection, self._statement_for_few, part)
            except psycopg.Error as error:  # Another column may be at fault, or retyped.
                if may_pass(error, connection):
                    raise
        return await read_values(connection, self._definition.name, self._columns, part)

    async def _payload_trouble(self, connection: LoadingConnection) -> _Trouble | None:
        """Return what is wrong with the payload, if it is not a row that is at fault."""
        try:
            if (await payload_definition(connection, self._definition.name)).revision != self._definition.revision:
                return _Trouble.DEFINED_ANEW
            await read_values(connection, self._definition.name, self._columns, [])
        except PayloadInvalid:
            return _Trouble.PAYLOAD
        except psycopg.Error as error:
            if may_pass(error, connection):
                raise
            return _Trouble.PAYLOAD
        return None
