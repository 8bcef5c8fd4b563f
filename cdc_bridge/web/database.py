"""Connections of dashboard and API: small pools with short time-outs, so that deliveries come first."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool

from cdc_bridge.database import (
    DATABASE_ERRORS,
    is_unavailable,
    problem_of,
    process_name,
    statement_failed,
)
from cdc_bridge.errors import DatabaseUnavailable
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection, Session, loading_parameters, session_parameters, set_up
from cdc_bridge.web.time_limit import within

_queries = load_queries(__name__)

T = TypeVar("T")

_Pool = AsyncConnectionPool[Session]

MOST_CONNECTIONS = 2
_STATEMENT_SECONDS = 5
_ANSWER_WITHIN_SECONDS = _STATEMENT_SECONDS + 1.0
"""PostgreSQL's own limit does not help where the network drops what it sends."""
_WAIT_SECONDS = 3.0
_IDLE_SECONDS = 60.0
_MOST_WAITING = 64
"""As many as requests are served at once (``connections.py``): a program may send as many changes."""


class WebDatabase:
    """Pools of connections: to read, to load reservations, and to change endpoints and deliveries."""

    def __init__(self, database_url: str) -> None:
        self._pool = _pool(session_parameters(database_url), MOST_CONNECTIONS, _set_up)
        self._loading_pool = _pool(loading_parameters(database_url), 1, _set_up)
        self._changing_pool = _pool(session_parameters(database_url), MOST_CONNECTIONS, _set_up_to_change)

    async def open(self) -> None:
        """Open the pools; each connects when it is first used."""
        for pool in (self._pool, self._loading_pool, self._changing_pool):
            await pool.open(wait=False)

    async def close(self) -> None:
        """Close the connections."""
        for pool in (self._changing_pool, self._loading_pool, self._pool):
            await pool.close(timeout=2)

    async def read(self, operation: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """Run an operation that reads.

        Raises:
            DatabaseUnavailable: The database does not respond in time, or the pool is exhausted.
            InstallationError: PostgreSQL rejected a statement.
        """
        return await self._run(self._pool, operation)

    async def load(self, operation: Callable[[LoadingConnection], Coroutine[Any, Any, T]]) -> T:
        """Run an operation that loads reservations; raises the same."""
        return await self._run(self._loading_pool, lambda connection: operation(LoadingConnection(connection)))

    async def change(self, operation: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """Run an operation that changes something in one transaction; raises the same.

        If the database does not respond in time, it may have been carried out nevertheless.
        """
        return await self._run(self._changing_pool, operation)

    async def _run(self, pool: _Pool, operation: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        try:
            return await within(_ANSWER_WITHIN_SECONDS, _run(pool, operation))
        except (psycopg.errors.QueryCanceled, TimeoutError) as error:
            raise DatabaseUnavailable(
                f"the database took longer than {_STATEMENT_SECONDS} s", "Narrow the filter, or try again later."
            ) from error
        except DATABASE_ERRORS as error:
            if not is_unavailable(error):
                raise statement_failed(error) from error
            raise DatabaseUnavailable(
                f"the database does not respond: {problem_of(error)}", "Check that PostgreSQL runs: cdc-bridge check"
            ) from error


async def _run(pool: _Pool, operation: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
    async with pool.connection() as connection:
        try:
            return await operation(connection)
        except psycopg.errors.ReadOnlySqlTransaction:
            await connection.close()  # It leads to a server that was demoted; the next one leads to the primary.
            raise


def _pool(parameters: dict[str, Any], max_size: int, set_up: Callable[[Session], Coroutine[Any, Any, None]]) -> _Pool:
    return AsyncConnectionPool(
        connection_class=Session,
        kwargs=parameters,
        min_size=0,
        max_size=max_size,
        max_idle=_IDLE_SECONDS,
        max_waiting=_MOST_WAITING,
        timeout=_WAIT_SECONDS,
        reconnect_timeout=_WAIT_SECONDS,
        configure=set_up,
        open=False,
    )


async def _set_up(session: Session) -> None:
    await _set_up_by("set_up_dashboard_session", session)


async def _set_up_to_change(session: Session) -> None:
    await _set_up_by("set_up_changing_session", session)


async def _set_up_by(statement: str, session: Session) -> None:
    await set_up(session)
    await session.execute(
        _queries[statement],
        {"name": f"cdc-bridge dashboard {process_name()}", "statement_timeout": f"{_STATEMENT_SECONDS}s"},
    )
