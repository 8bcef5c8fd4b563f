"""Waits until all transactions have ended that began to write before an instant, and says which is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 1.0
_WORTH_SAYING_SECONDS = 0.5


async def until_older_writers_have_ended(
    connection: AsyncConnection[TupleRow], told: Callable[[str | None], None]
) -> None:
    """Wait until every transaction has ended that has a lower id than one drawn now.

    Args:
        connection: to the database, autocommit: nothing of ours is open while we wait.
        told: is told who is waited for, if that takes long, each time we look; and ``None`` at the end.

    Raises:
        psycopg.Error: the database could not be read.
    """
    horizon = await _number(connection, "own_transaction")
    pause_seconds = _FIRST_PAUSE_SECONDS
    while await _number(connection, "oldest_transaction") < horizon:
        if pause_seconds >= _WORTH_SAYING_SECONDS:
            told(str(await oldest_writer(connection) or "an older transaction"))
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
    told(None)


async def _number(connection: AsyncConnection[TupleRow], name: str) -> int:
    cursor = await connection.execute(_queries[name])
    ((number,),) = await cursor.fetchall()
    return int(number)


@dataclass(frozen=True, slots=True)
class Writer:
    """A transaction that has written and is open, as far as the role may see whose it is."""

    pid: int | None
    role: str | None
    database: str | None
    since: datetime | None
    prepared_name: str | None
    """``None``: it is not a prepared one."""

    def __str__(self) -> str:
        """Return it in words."""
        prepared = self.prepared_name
        which = f"the transaction of process {self.pid}" if prepared is None else f"the prepared transaction {prepared}"
        return which + _known(" of ", self.role) + _known(" in ", self.database) + _known(", open since ", self.since)


async def oldest_writer(connection: AsyncConnection[TupleRow]) -> Writer | None:
    """Return the oldest transaction that still writes, in the whole cluster.

    Raises:
        psycopg.Error: the database could not be read.
    """
    async with connection.cursor(row_factory=class_row(Writer)) as cursor:
        await cursor.execute(_queries["oldest_writer"])
        return await cursor.fetchone()


def _known(before: str, value: str | datetime | None) -> str:
    if value is None:
        return ""
    return before + (f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else value)
