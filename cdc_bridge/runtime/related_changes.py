"""Adds the reservations of changed rows of related tables to the change log.

The writer of an order line, or of a guest, leaves one row; this task appends the reservations that it belongs to. A
guest may have ten thousand, which are found a page at a time, each appended in a transaction of its own.

A reservation's changes have to be numbered in the order in which they commit, and no lock of the reservation sees to
that here. So it is done as in :mod:`cdc_bridge.deliveries.enqueue`: numbers are drawn, then every transaction has to
end that may have drawn a lower one, then they are used. Several daemons may do so at once: a page is appended only if
nobody else has gone on meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from cdc_bridge.backoff import Backoff
from cdc_bridge.capture.listener import Listener
from cdc_bridge.capture.older_writers import until_older_writers_have_ended
from cdc_bridge.capture.reader import Reader
from cdc_bridge.database import DATABASE_ERRORS, Database, problem_of
from cdc_bridge.errors import StatementFailed
from cdc_bridge.payload.isolated import run_isolated
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection

_queries = load_queries(__name__)

_PAGE = 500
_ROWS = 200
_LOOK_EVERY_SECONDS_WITHOUT_RELATED = 30.0
_TRY_AGAIN_AFTER_SECONDS = 30.0
_AFTER_FAILURE = Backoff(first_seconds=0.5, longest_seconds=30.0)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _ChangedRow:
    """A changed row of a related table."""

    related_change_id: int
    related_id: int
    key: str
    done_up_to: str | None
    is_child: bool
    """Whether its key is that of a reservation."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Reservations to append for one changed row."""

    row: _ChangedRow
    reservation_ids: list[str]
    finished: bool
    """Whether there are no more."""


class RelatedChanges:
    """Turns changes of related tables into changes of reservations."""

    def __init__(self, database: Database, listener: Listener) -> None:
        """Prepare to work.

        Args:
            database: Has the changed rows, the reservations and the change log.
            listener: Says when something may have been committed.
        """
        self._database = database
        self._listener = listener
        self._failed: dict[int, float] = {}
        """By related table: until when it is left out."""
        self._failures = 0

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            if await self._database.patiently(_has_related):
                reader = self._listener.reader()
                try:
                    async with await self._database.connect() as connection:
                        await self._work(connection, reader)
                except DATABASE_ERRORS as error:
                    self._failures += 1
                    _log.warning("related changes not read", problem=problem_of(error))
                finally:
                    self._listener.dismiss(reader)
                await asyncio.sleep(_AFTER_FAILURE.pause_seconds(self._failures))
            else:
                await asyncio.sleep(_LOOK_EVERY_SECONDS_WITHOUT_RELATED)

    async def _work(self, connection: AsyncConnection[TupleRow], reader: Reader) -> None:
        while True:
            left_out = [related_id for related_id, until in self._failed.items() if until > time.monotonic()]
            rows = await _changed_rows(connection, left_out)
            pieces = [piece for row in rows if (piece := await self._piece(row)) is not None]
            if pieces:
                await _append(connection, pieces)
            self._failures = 0
            if rows:
                reader.found()
            else:
                await reader.until_woken()

    async def _piece(self, row: _ChangedRow) -> _Piece | None:
        """Return the next reservations of a row; ``None``: they cannot be found now."""
        if row.is_child:
            return _Piece(row, [row.key], finished=True)
        if self._failed.get(row.related_id, 0.0) > time.monotonic():
            return None
        try:
            ids = await self._database.load_patiently(partial(_reservations, row))
        except StatementFailed as error:
            if row.related_id not in self._failed:
                _log.warning(
                    "reservations of a changed row not found", related_id=row.related_id, problem=error.problem
                )
            self._failed[row.related_id] = time.monotonic() + _TRY_AGAIN_AFTER_SECONDS
            return None
        self._failed.pop(row.related_id, None)
        return _Piece(row, ids, finished=len(ids) < _PAGE)


async def _has_related(connection: AsyncConnection[TupleRow]) -> bool:
    cursor = await connection.execute(_queries["has_related"])
    ((has_related,),) = await cursor.fetchall()
    return bool(has_related)


async def _changed_rows(connection: AsyncConnection[TupleRow], left_out: list[int]) -> list[_ChangedRow]:
    async with connection.cursor(row_factory=class_row(_ChangedRow)) as cursor:
        await cursor.execute(_queries["changed_rows"], {"limit": _ROWS, "left_out": left_out})
        return await cursor.fetchall()


async def _reservations(row: _ChangedRow, connection: LoadingConnection) -> list[str]:
    parameters = {"related_id": row.related_id, "key": row.key, "after": row.done_up_to, "limit": _PAGE}
    cursor = await run_isolated(connection, _queries["related_keys"].encode(), parameters)
    return [reservation_id for (reservation_id,) in await cursor.fetchall()]


async def _append(connection: AsyncConnection[TupleRow], pieces: list[_Piece]) -> None:
    count = sum(len(piece.reservation_ids) for piece in pieces)
    cursor = await connection.execute(_queries["draw_change_numbers"], {"count": count})
    numbers = [number for (number,) in await cursor.fetchall()]
    await until_older_writers_have_ended(connection, lambda _: None)
    for piece in pieces:
        seqs, numbers = numbers[: len(piece.reservation_ids)], numbers[len(piece.reservation_ids) :]
        parameters = {
            "id": piece.row.related_change_id,
            "done_up_to": piece.row.done_up_to,
            "reservation_ids": piece.reservation_ids,
            "seqs": seqs,
            "finished": piece.finished,
        }
        await connection.execute(_queries["append_related"], parameters)
