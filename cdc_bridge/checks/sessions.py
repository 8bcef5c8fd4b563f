"""Checks of the sessions that the daemon would have: that they keep what is set, and that there may be enough."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from psycopg import errors

from cdc_bridge.checks.verdict import Check, Connection, failed, ok, record
from cdc_bridge.errors import DatabaseUnavailable
from cdc_bridge.sessions import Session, connect

LEAST_SESSIONS = 5
"""Wake-up, heartbeat, statements, loading, and one for pruning or reconciling."""

MOST_SESSIONS = 23

_HELD_UP_SECONDS = 5.0
_SAMPLES = 40
_PAUSE_SECONDS = 0.005


async def check_connections(connection: Connection) -> Check:
    """The role may have as many connections as the daemon needs."""
    limits = {
        "role": "alter role {role} connection limit -1;",
        "database": "alter database {database} connection limit -1;",
        "server": "Raise max_connections, or have other programs use fewer.",
    }
    role, database, *left = await record(connection, "connections_left")
    of, count = min(zip(limits, left, strict=True), key=lambda each: each[1])
    need = f"the daemon needs {LEAST_SESSIONS}, and uses up to {MOST_SESSIONS} with API and dashboard"
    if count < LEAST_SESSIONS:
        remedy = limits[of].format(role=role, database=database)
        return failed("connections", f"the {of} has {count} left for role {role}; {need}", remedy)
    return ok("connections", need)


async def check_pooler(session: Session, database_url: str) -> Check:
    """No pooler is in between, or one that keeps sessions.

    Raises:
        DatabaseUnavailable: The pooler has no session left, so this cannot be found out now.
    """
    name = "sessions"
    if await _server_process(session) == session.info.backend_pid:
        return ok(name, "are PostgreSQL's own")
    if (problem := await _problem_of_pooler(database_url)) is None:
        return ok(name, "are kept by the pooler")
    return failed(
        name,
        f"{problem}; the daemon needs sessions of its own",
        "Connect to PostgreSQL directly, or through a pooler in session mode.",
    )


async def _problem_of_pooler(database_url: str) -> str | None:
    """Return why a pooler does not do; ``None``: it does.

    A pooler that shares server processes gives a session another one from time to time, or none while all are inside
    transactions. Which one depends on what its other clients do: so this is looked at more than once.
    """
    async with AsyncExitStack() as opened:
        sessions: list[Session] = []
        for _ in range(2):
            try:
                async with asyncio.timeout(_HELD_UP_SECONDS):
                    sessions.append(await connect(database_url))
            except TimeoutError as error:
                raise DatabaseUnavailable(
                    "a pooler is in between and has no session left",
                    f"Raise its pool size: the daemon needs {LEAST_SESSIONS} sessions, and uses up to {MOST_SESSIONS}.",
                ) from error
            opened.push_async_callback(sessions[-1].close)
        session, other = sessions
        processes = {await _server_process(session)}
        for _ in range(_SAMPLES):
            try:
                await other.execute("begin")
            except errors.ProtocolViolation:
                return "a pooler in statement mode is in between"
            taken = await _server_process(other)
            try:
                async with asyncio.timeout(_HELD_UP_SECONDS):
                    processes.add(await _server_process(session))
            except TimeoutError:
                return "a pooler in transaction mode is in between"
            await other.execute("rollback")
            if len(processes) > 1 or taken in processes:
                return "a pooler in transaction mode is in between"
            await asyncio.sleep(_PAUSE_SECONDS)
    return None


async def _server_process(session: Session) -> int:
    cursor = await session.execute("select pg_catalog.pg_backend_pid()")
    ((pid,),) = await cursor.fetchall()
    return int(pid)
