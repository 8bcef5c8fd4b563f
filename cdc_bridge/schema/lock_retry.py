"""Runs DDL beside people at work: waits for a lock as long as its text says, tells who holds it, and tries again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow, class_row

from cdc_bridge.database import connect
from cdc_bridge.errors import InstallationError
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

LOCK_TRIES = 10
LOCK_PAUSE_SECONDS = 2.0  # in which those who wait behind us get their turn
_LOOK_EVERY_SECONDS = 0.04

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BlockingSession:
    """A session that holds a lock which another one waits for."""

    lock: str
    """What is locked."""
    pid: int
    """Its process; 0: it is no session but a prepared transaction."""
    role: str | None
    application: str | None
    state: str | None
    """What it does; ``None``: this role may not see it."""
    since: datetime | None
    """When its transaction began."""

    def __str__(self) -> str:
        """Return it for people."""
        if not self.pid:
            return "a prepared transaction (see pg_prepared_xacts)"
        facts = [
            f"role {self.role}",
            f'application "{self.application}"' if self.application else "",
            self.state or "",
            f"in its transaction since {self.since.astimezone():%H:%M:%S}" if self.since else "",
        ]
        return f"pid {self.pid} ({', '.join(filter(None, facts))})"


@dataclass(slots=True)
class _Seen:
    """What was last seen in the way."""

    sessions: list[BlockingSession] = field(default_factory=list)

    @property
    def lock(self) -> str:
        return self.sessions[0].lock if self.sessions else "the reservations table"

    def __str__(self) -> str:
        return " and ".join(map(str, self.sessions)) or "another session"


async def run_patiently(
    connection: AsyncConnection[TupleRow],
    database_url: str,
    text: str,
    say: Say,
) -> None:
    """Run a text of SQL that is one transaction and sets its ``lock_timeout``.

    Args:
        connection: on which.
        database_url: for another connection, which looks at who is in the way meanwhile.
        text: what to run.
        say: is told of each session that is waited for.

    Raises:
        InstallationError: a lock was not to be had; nothing was changed.
        psycopg.Error: the database refused a statement; nothing was changed.
    """
    for tries_left in reversed(range(LOCK_TRIES)):
        seen, ended = _Seen(), asyncio.Event()
        watching = asyncio.create_task(_watch(connection.info.backend_pid, database_url, seen, ended))
        try:
            await connection.execute(text.encode())
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            await connection.rollback()
            if not tries_left:
                raise InstallationError(
                    f"{seen.lock} stayed locked by {seen}; nothing was changed", _remedy(seen)
                ) from error
            say(f"{seen.lock} is locked by {seen}; trying again ...")
        else:
            return
        finally:
            ended.set()
            await watching
        await asyncio.sleep(LOCK_PAUSE_SECONDS)


def _remedy(seen: _Seen) -> str:
    ends = "; ".join(f"select pg_terminate_backend({session.pid})" for session in seen.sessions if session.pid)
    return "Try again at a quieter time" + (f", or end what is in the way: {ends};" if ends else ".")


async def _watch(waiting_pid: int, database_url: str, seen: _Seen, ended: asyncio.Event) -> None:
    if await _ends_soon(ended):
        return
    with suppress(psycopg.Error):
        async with await connect(database_url) as connection:
            while not await _ends_soon(ended):
                async with connection.cursor(row_factory=class_row(BlockingSession)) as cursor:
                    await cursor.execute(_queries["blocking_sessions"], {"pid": waiting_pid})
                    seen.sessions = await cursor.fetchall() or seen.sessions


async def _ends_soon(ended: asyncio.Event) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_EVERY_SECONDS):
            await ended.wait()
    return ended.is_set()
