"""Runs DDL on a busy database: a short ``lock_timeout``, several tries, and a report of who holds the lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow, class_row

from cdc_bridge.errors import InstallationError
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import connect
from cdc_bridge.tasks import wait_for_event

_queries = load_queries(__name__)

LOCK_TRIES = 10
LOCK_PAUSE_SECONDS = 2.0  # in which sessions that queued behind us get their turn
_POLL_INTERVAL_SECONDS = 0.04

Report = Callable[[str], None]
"""Called with a line for the person who runs the command."""


@dataclass(frozen=True, slots=True)
class BlockingSession:
    """A session that holds a lock which another one waits for."""

    lock: str
    """What is locked."""
    pid: int
    """Its process; 0: a prepared transaction."""
    role: str | None
    application: str | None
    state: str | None
    """``None``: this role may not see it."""
    since: datetime | None
    """When its transaction began."""

    def __str__(self) -> str:
        if not self.pid:
            return "a prepared transaction (see pg_prepared_xacts)"
        details = [
            f"role {self.role}",
            f'application "{self.application}"' if self.application else "",
            self.state or "",
            f"in transaction since {self.since.astimezone():%H:%M:%S}" if self.since else "",
        ]
        return f"pid {self.pid} ({', '.join(filter(None, details))})"


@dataclass(slots=True)
class _Blockers:
    """The sessions that were last seen to block ours."""

    sessions: list[BlockingSession] = field(default_factory=list)

    @property
    def lock(self) -> str:
        return self.sessions[0].lock if self.sessions else "the reservations table"

    @property
    def remedy(self) -> str:
        ends = "; ".join(f"select pg_terminate_backend({session.pid})" for session in self.sessions if session.pid)
        return "Try again at a quieter time" + (f", or end the blocking session: {ends};" if ends else ".")

    def __str__(self) -> str:
        return " and ".join(map(str, self.sessions)) or "another session"


async def run_with_lock_retry(
    connection: AsyncConnection[TupleRow], database_url: str, text: str, report: Report
) -> None:
    """Run SQL that is one transaction and sets its own ``lock_timeout``; repeat it when a lock is not available.

    A statement that fails for another reason rolls everything back.

    Args:
        connection: Runs the SQL.
        database_url: For a second connection, which finds out who holds the lock.
        text: The SQL.
        report: Progress callback: gets each lock that was not available.

    Raises:
        InstallationError: A lock was not available; nothing was changed.
    """
    for tries_left in reversed(range(LOCK_TRIES)):
        blockers, done = _Blockers(), asyncio.Event()
        watching = asyncio.create_task(_watch_blockers(connection.info.backend_pid, database_url, blockers, done))
        try:
            await connection.execute(text.encode())
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            await connection.rollback()
            if not tries_left:
                raise InstallationError(
                    f"{blockers.lock} stayed locked by {blockers}; nothing was changed", blockers.remedy
                ) from error
            report(f"{blockers.lock} is locked by {blockers}; trying again ...")
        else:
            return
        finally:
            done.set()
            await watching
        await asyncio.sleep(LOCK_PAUSE_SECONDS)


async def _watch_blockers(pid: int, database_url: str, blockers: _Blockers, done: asyncio.Event) -> None:
    """Keep ``blockers`` current until ``done``; a statement that ends at once costs no second connection."""
    if await _is_set_soon(done):
        return
    with suppress(psycopg.Error):
        async with await connect(database_url) as connection:
            while not await _is_set_soon(done):
                async with connection.cursor(row_factory=class_row(BlockingSession)) as cursor:
                    await cursor.execute(_queries["blocking_sessions"], {"pid": pid})
                    blockers.sessions = await cursor.fetchall() or blockers.sessions


async def _is_set_soon(event: asyncio.Event) -> bool:
    await wait_for_event(event, _POLL_INTERVAL_SECONDS)
    return event.is_set()
