"""Checks of the sessions that the daemon would have: that they keep what is set, and that there may be enough."""

from __future__ import annotations

import asyncio

import psycopg

from cdc_bridge.checks.verdict import Check, Connection, failed, ok, record
from cdc_bridge.database import problem_of
from cdc_bridge.sessions import Session, connect

LEAST_SESSIONS = 5
"""Wake-up, heartbeat, statements, loading, and one for pruning or reconciling."""

MOST_SESSIONS = 15

_HELD_UP_SECONDS = 5.0


async def check_connections(connection: Connection) -> Check:
    """The role may have as many connections as the daemon needs."""
    limits = {
        "role": "alter role {role} connection limit -1;",
        "database": "alter database {database} connection limit -1;",
        "server": "Raise max_connections, or have other programs use fewer.",
    }
    role, database, *left = await record(connection, "connections_left")
    of, count = min(zip(limits, left, strict=True), key=lambda each: each[1])
    need = f"the daemon needs {LEAST_SESSIONS}, and uses up to {MOST_SESSIONS} with a dashboard"
    if count < LEAST_SESSIONS:
        remedy = limits[of].format(role=role, database=database)
        return failed("connections", f"the {of} has {count} left for role {role}; {need}", remedy)
    return ok("connections", need)


async def check_pooler(session: Session, database_url: str) -> Check:
    """No pooler is in between, or one that keeps sessions."""
    name = "sessions"
    if await _server_process(session) == session.info.backend_pid:
        return ok(name, "are PostgreSQL's own")
    if (problem := await _problem_of_pooler(session, database_url)) is None:
        return ok(name, "are kept by the pooler")
    return failed(
        name,
        f"{problem}; the daemon needs sessions of its own",
        "Connect to PostgreSQL directly, or through a pooler in session mode.",
    )


async def _problem_of_pooler(session: Session, database_url: str) -> str | None:
    """Return why a pooler does not do; ``None``: it does.

    While another session is inside a transaction, a pooler that shares server processes gives this one another process
    than before, or has given its own away, or has none left.
    """
    try:
        process = await _server_process(session)
        async with await connect(database_url) as other:
            await other.execute("begin")
            taken = await _server_process(other)
            async with asyncio.timeout(_HELD_UP_SECONDS):
                now = await _server_process(session)
            await other.execute("rollback")
    except TimeoutError:
        return "a pooler lets a session wait for the transaction of another one"
    except psycopg.Error as error:
        return f"a pooler is in between, and transactions fail: {problem_of(error)}"
    return None if now == process != taken else "a pooler in transaction mode is in between"


async def _server_process(session: Session) -> int:
    cursor = await session.execute("select pg_catalog.pg_backend_pid()")
    ((pid,),) = await cursor.fetchall()
    return int(pid)
