"""Reads the canonical text of some columns of reservations, and nothing else of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from cdc_bridge.model import ReservationId
from cdc_bridge.payload.definition import PayloadDefinition
from cdc_bridge.payload.isolated import run_isolated
from cdc_bridge.payload.shape import canonical_texts, column_of, loader_of
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection

_queries = load_queries(__name__)

_PARTS = 10
"""Into how many parts reservations are divided to find those that fail: each level may cost a statement's time-out."""

Texts = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class ColumnValues:
    """The canonical text of columns of some reservations."""

    revision: str | None
    """The definition's; ``None``: no reservation was asked for."""
    rows: Mapping[ReservationId, Sequence[Texts]]
    """Of each reservation; none: the payload has no such reservation."""
    problem_of_capture: str | None
    """Why changes are not captured now, if one was not found: it may not have been deleted."""


async def read_values(
    connection: LoadingConnection,
    payload: str,
    columns: Sequence[str],
    reservation_ids: Sequence[ReservationId],
    snapshot: str | None = None,
) -> ColumnValues:
    """Read columns of some reservations.

    Args:
        connection: The connection.
        payload: The payload's name.
        columns: Its columns to read.
        reservation_ids: The keys of the reservations.
        snapshot: A snapshot that another transaction exported, to read in; ``None``: a new one.
    """
    parameters = {"payload": payload, "columns": list(columns), "reservation_ids": list(reservation_ids)}
    return await _read(connection, _queries["payload_values"].encode(), parameters, snapshot)


def statement_for_few(definition: PayloadDefinition, columns: Sequence[str]) -> bytes:
    """Return a statement that reads columns of a few reservations faster."""
    statement = sql.SQL(_queries["payload_values_of_few"]).format(
        loader=loader_of(definition),
        key=column_of(definition, "id"),
        canonical=sql.SQL(", ").join(canonical_texts(definition, columns)),
    )
    return statement.as_bytes(None)


async def read_values_of_few(
    connection: LoadingConnection, statement: bytes, reservation_ids: Sequence[ReservationId]
) -> ColumnValues:
    """Read columns of a few reservations."""
    return await _read(connection, statement, {"reservation_ids": list(reservation_ids)}, None)


def parts_of(reservation_ids: Sequence[ReservationId]) -> list[Sequence[ReservationId]]:
    """Divide reservations into parts, to find those that a statement fails for."""
    size = -(-len(reservation_ids) // _PARTS)
    return [reservation_ids[start : start + size] for start in range(0, len(reservation_ids), size)]


async def _read(
    connection: LoadingConnection, statement: bytes, parameters: Mapping[str, object], snapshot: str | None
) -> ColumnValues:
    cursor = await run_isolated(connection, statement, parameters, snapshot)
    revision = problem_of_capture = None
    found: dict[ReservationId, list[Texts]] = {}
    for id_, revision, canonical, problem in await cursor.fetchall():  # noqa: B007 - all rows have the same
        rows = found.setdefault(id_, [])
        if canonical is not None:
            rows.append(canonical)
        problem_of_capture = problem_of_capture or problem
    return ColumnValues(revision, found, problem_of_capture)
