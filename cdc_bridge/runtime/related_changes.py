"""Adds the reservations of changed parents to the change log, such as those of a guest whose telephone number changed.

A parent may have ten thousand reservations. Its writer leaves one row; this task finds the reservations a page at a
time and appends each page in a transaction of its own. Several daemons may do so at once: a page is appended only if
nobody else has gone on meanwhile. After a page it pauses for as long as the page took.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.listener import Listener
from cdc_bridge.capture.reader import Reader
from cdc_bridge.database import Database, LoadingConnection
from cdc_bridge.errors import StatementFailed
from cdc_bridge.payload.isolated import run_isolated
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_PAGE = 500
_PARENTS = 100
_LOOK_EVERY_SECONDS_WITHOUT_PARENTS = 30.0
_TRY_AGAIN_AFTER_SECONDS = 30.0

_log = structlog.get_logger(__name__)


class RelatedChanges:
    """Turns changes of parents into changes of their reservations."""

    def __init__(self, database: Database, listener: Listener) -> None:
        """Prepare to work.

        Args:
            database: Has the changed parents, the reservations and the change log.
            listener: Says when something may have been committed.
        """
        self._database = database
        self._listener = listener
        self._failed: dict[int, float] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            if await self._database.patiently(_has_parents):
                reader = self._listener.reader()
                try:
                    await self._work(reader)
                finally:
                    self._listener.dismiss(reader)
            await asyncio.sleep(_LOOK_EVERY_SECONDS_WITHOUT_PARENTS)

    async def _work(self, reader: Reader) -> None:
        while True:
            left_out = [number for number, until in self._failed.items() if until > time.monotonic()]
            changed = await self._database.patiently(partial(_changed_parents, left_out))
            for related_change_id, related_id, key, done_up_to in changed:
                try:
                    await self._expand(related_change_id, related_id, key, done_up_to)
                    self._failed.pop(related_change_id, None)
                except StatementFailed as error:
                    self._failed[related_change_id] = time.monotonic() + _TRY_AGAIN_AFTER_SECONDS
                    _log.warning(
                        "reservations of a changed row not found", related_id=related_id, problem=error.problem
                    )
            if changed:
                reader.found()
            else:
                await reader.until_woken()

    async def _expand(self, related_change_id: int, related_id: int, key: str, done_up_to: str | None) -> None:
        while True:
            began = time.monotonic()
            ids = await self._database.load_patiently(partial(_reservations, related_id, key, done_up_to))
            ours = await self._database.patiently(partial(_append, related_change_id, done_up_to, ids))
            if not ours or not ids:
                return
            done_up_to = ids[-1]
            await asyncio.sleep(time.monotonic() - began)


async def _has_parents(connection: AsyncConnection[TupleRow]) -> bool:
    cursor = await connection.execute(_queries["has_parents"])
    ((has_parents,),) = await cursor.fetchall()
    return bool(has_parents)


async def _changed_parents(
    left_out: list[int], connection: AsyncConnection[TupleRow]
) -> list[tuple[int, int, str, str | None]]:
    cursor = await connection.execute(_queries["changed_parents"], {"limit": _PARENTS, "left_out": left_out})
    return [(number, related, key, done) for number, related, key, done in await cursor.fetchall()]


async def _reservations(related_id: int, key: str, done_up_to: str | None, connection: LoadingConnection) -> list[str]:
    parameters = {"related_id": related_id, "key": key, "after": done_up_to, "limit": _PAGE}
    cursor = await run_isolated(connection, _queries["related_keys"].encode(), parameters)
    return [reservation_id for (reservation_id,) in await cursor.fetchall()]


async def _append(
    related_change_id: int, done_up_to: str | None, ids: list[str], connection: AsyncConnection[TupleRow]
) -> bool:
    cursor = await connection.execute(
        _queries["append_related"], {"id": related_change_id, "done_up_to": done_up_to, "reservation_ids": ids}
    )
    ((done,),) = await cursor.fetchall()
    return bool(done)
