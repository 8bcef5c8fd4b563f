"""Waits for the transactions that began to write before an instant, and names the one that it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from cdc_bridge.backoff import Backoff
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_POLLING = Backoff(first_seconds=0.02, longest_seconds=1.0)
_REPORT_FROM_PAUSE_SECONDS = 0.5


async def until_older_writers_have_ended(
    connection: AsyncConnection[TupleRow], report: Callable[[str | None], None]
) -> None:
    """Wait until every transaction has ended that has a lower id than one drawn now.

    Args:
        connection: In autocommit mode: nothing of ours is open during the wait.
        report: Progress callback: gets the transaction that it waits for, if that takes long, and ``None`` at the end.
    """
    horizon = await _number(connection, "own_transaction")
    polls = 0
    while await _number(connection, "oldest_transaction") < horizon:
        polls += 1
        pause_seconds = _POLLING.pause_seconds(polls)
        if pause_seconds >= _REPORT_FROM_PAUSE_SECONDS:
            report(str(await oldest_writer(connection) or "an older transaction"))
        await asyncio.sleep(pause_seconds)
    report(None)


async def _number(connection: AsyncConnection[TupleRow], name: str) -> int:
    cursor = await connection.execute(_queries[name])
    ((number,),) = await cursor.fetchall()
    return int(number)


@dataclass(frozen=True, slots=True)
class Writer:
    """An open transaction that has written, as far as the role may see whose it is."""

    pid: int | None
    role: str | None
    database: str | None
    since: datetime | None
    prepared_name: str | None
    """Name of a prepared transaction; ``None``: it is not prepared."""

    def __str__(self) -> str:
        """Return a description for people."""
        prepared = self.prepared_name
        which = f"the transaction of process {self.pid}" if prepared is None else f"the prepared transaction {prepared}"
        return which + _known(" of ", self.role) + _known(" in ", self.database) + _known(", open since ", self.since)


async def oldest_writer(connection: AsyncConnection[TupleRow]) -> Writer | None:
    """Return the oldest open transaction that has written, in the whole cluster."""
    async with connection.cursor(row_factory=class_row(Writer)) as cursor:
        await cursor.execute(_queries["oldest_writer"])
        return await cursor.fetchone()


def _known(before: str, value: str | datetime | None) -> str:
    if value is None:
        return ""
    return before + (f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else value)
