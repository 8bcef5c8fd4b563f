"""Waits until all transactions have ended that began to write before an instant, and says which is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.queries import queries

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
            told(await _oldest_writer(connection))
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
    told(None)


async def _number(connection: AsyncConnection[TupleRow], name: str) -> int:
    cursor = await connection.execute(queries[name])
    ((number,),) = await cursor.fetchall()
    return int(number)


async def _oldest_writer(connection: AsyncConnection[TupleRow]) -> str:
    cursor = await connection.execute(queries["oldest_writer"])
    record = await cursor.fetchone()
    if record is None:
        return "an older transaction"
    pid, user, database, since, prepared_name = record
    which = (
        f"the transaction of process {pid}" if prepared_name is None else f"the prepared transaction {prepared_name}"
    )
    return which + _known(" of ", user) + _known(" in ", database) + _known(", open since ", since)


def _known(before: str, value: str | datetime | None) -> str:
    if value is None:
        return ""
    return before + (f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else value)
