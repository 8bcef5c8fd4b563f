"""The daemon's and the commands' way to PostgreSQL, and retries while it is unavailable.

The daemon keeps a small pool of sessions for statements and one for loading reservations; the listener has a session of
its own (:mod:`~cdc_bridge.sessions`).

Memory never outlives the server that it was read from: what is done for an endpoint goes through
:meth:`Database.of_server`, and fails with :class:`~cdc_bridge.errors.ServerReplaced` once another server, or another
run of the same one, has taken over. What was in memory is dropped then, and read anew.

The daemon's statements go through :meth:`Database.patiently`, which tries again, with growing pauses, until PostgreSQL
is back. An operation may therefore run twice: if the connection is lost after the commit and before its response. So
each is idempotent. A statement that fails on a connection that works would fail again: it is not repeated.

Any function that takes a connection raises ``psycopg.Error`` when the database fails.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from cdc_bridge.backoff import Backoff
from cdc_bridge.connection_origin import connection_origin
from cdc_bridge.connection_problem import ConnectionProblem, connection_problem
from cdc_bridge.errors import DatabaseUnavailable, ServerReplaced, StatementFailed, shortened
from cdc_bridge.metrics import DATABASE_RECONNECTS
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import (
    LoadingConnection,
    ServerIncarnation,
    Session,
    connect,
    connect_to_load,
    loading_parameters,
    session_parameters,
    set_up,
)

_queries = load_queries(__name__)

T = TypeVar("T")
C = TypeVar("C", bound=Session)

OPERATION_TIMEOUT_SECONDS = 60.0
"""A statement that takes longer is abandoned: its connection is dead, or the database is stuck."""

RECONNECT = Backoff(first_seconds=0.1, longest_seconds=5.0, jitter=0.5)
"""Pauses between attempts while the database is unavailable."""

_POOL_SIZE = 4
_LOADING_POOL_SIZE = 4

DATABASE_ERRORS = (psycopg.Error, TimeoutError)
"""What an operation raises when the database fails; :func:`is_unavailable` tells what trying again may solve."""

_PASSING_CLASSES = {
    "08",  # connection exception
    "40",  # transaction rollback: a deadlock, a serialization failure
    "53",  # insufficient resources
    "57",  # operator intervention: shutdown, start, cancelled statement
}
_LOST_CLASSES = {"08", "57"}
_PASSING_CODES = {
    "25006",  # read-only: the server was demoted
    "25P03",  # a time-out has ended the session
    "25P04",
    "55P03",  # a lock was not available in time
}

_MISSING_RIGHT = "42501"
_RAISE = {"exec_stmt_raise", "exec_stmt_assert"}
"""Functions of PostgreSQL that raise what PL/pgSQL code asks for, under any SQLSTATE."""

_log = structlog.get_logger(__name__)


async def _set_up(session: Session) -> None:
    await set_up(session)
    await session.execute(_queries["set_up_daemon_session"], {"name": f"cdc-bridge {process_name()}"})


def process_name() -> str:
    """Return the name of this process among all daemons: its host and its process id."""
    return f"{socket.gethostname()[:30]}:{os.getpid()}"


def problem_of(error: BaseException) -> str:
    """Return an error's message on one line, without any value of a row: it may be a guest's, or a secret."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None and _may_carry_values(error):
        return f"a value cannot be used where it stands ({condition_of(error)})"
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return shortened(error.diag.message_primary)  # Its detail may repeat the row, or name another place each time.
    return shortened(" ".join(str(error).split())) or type(error).__name__


def condition_of(error: psycopg.Error) -> str:
    """Return an error's condition and SQLSTATE: what code of e-Res's puts into its message may be a guest's."""
    return f"{type(error).__name__}, SQLSTATE {error.sqlstate}"


def full_problem_of(error: psycopg.Error) -> str:
    """Return an error's message with whatever values are in it, for the terminal of somebody who may see them."""
    parts = (error.diag.message_primary or str(error), error.diag.message_detail, f"SQLSTATE {error.sqlstate}")
    return "; ".join(filter(None, parts))


def problem_without_rows(error: psycopg.Error) -> str:
    """Return the message of an error that came up before a row was read, so that no value can be in it."""
    return shortened(error.diag.message_primary or condition_of(error))


def _may_carry_values(error: psycopg.Error) -> bool:
    """Return whether an error's message may have a value in it.

    Those of conversions do; so does what code raises on purpose, and what comes up inside of a function, which may put
    a value into a statement or a name.
    """
    if isinstance(error, psycopg.DataError) or error.diag.source_function in _RAISE:
        return True
    code = error.sqlstate or ""
    return bool(error.diag.context) and code[:2] not in _PASSING_CLASSES and code != _MISSING_RIGHT


def is_unavailable(error: BaseException, connection: AsyncConnection[TupleRow] | None = None) -> bool:
    """Return whether trying the same again may help: the connection is broken, or the server cannot serve us now.

    Otherwise the statement or one of its rows is at fault.

    Args:
        error: What was raised.
        connection: The connection that it was raised on, if there was one.
    """
    if isinstance(error, TimeoutError) or (connection is not None and connection.closed):
        return True
    sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
    if sqlstate is None:  # It does not come from the server.
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return sqlstate[:2] in _PASSING_CLASSES or sqlstate in _PASSING_CODES


def is_connection_lost(error: BaseException) -> bool:
    """Return whether an error says no more than that the connection, or the server, is gone for now."""
    sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
    if sqlstate is None:  # It does not come from the server.
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | TimeoutError)
    return sqlstate[:2] in _LOST_CLASSES


_Pool = AsyncConnectionPool[Session]


class Database:
    """The daemon's pools of connections."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._failures = 0
        self._server: ServerIncarnation | None = None
        # The pools' own time-outs are short, so that _patiently() decides when to try again.
        self._pool: _Pool = AsyncConnectionPool(
            connection_class=Session,
            kwargs=session_parameters(database_url),
            min_size=1,
            max_size=_POOL_SIZE,
            configure=self._set_up_pooled,
            timeout=5,
            reconnect_timeout=3,
            open=False,
        )
        self._loading_pool: _Pool = AsyncConnectionPool(
            connection_class=Session,
            kwargs=loading_parameters(database_url),
            min_size=1,
            max_size=_LOADING_POOL_SIZE,
            configure=self._set_up_loading,
            timeout=5,
            reconnect_timeout=3,
            open=False,
        )

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            DatabaseUnavailable: PostgreSQL does not respond or rejects the login.
        """
        try:
            await (await self.connect()).close()
        except psycopg.Error as error:
            raise unreachable(error, self._url) from error
        await self._pool.open()
        await self._loading_pool.open()

    async def close(self) -> None:
        """Close the pools."""
        await self._loading_pool.close(timeout=2)
        await self._pool.close(timeout=2)

    async def connect(self) -> Session:
        """Open a session outside the pools."""
        session = await connect(self._url)
        await self._set_up(session)
        return session

    async def connect_to_load(self) -> LoadingConnection:
        """Open a session outside the pools that loads reservations."""
        session = await connect_to_load(self._url)
        await self._set_up(session)
        return session

    def is_current(self, session: Session) -> bool:
        """Return whether no other server has taken over since a session was opened."""
        return session.incarnation == self._server

    def of_server(self, incarnation: ServerIncarnation) -> ServerDatabase:
        """Return the database as long as it is served by this one server."""
        return ServerDatabase(self, incarnation)

    async def patiently(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        """Run an operation, and repeat it while the database is unavailable.

        Raises:
            StatementFailed: The statement failed for a reason that waiting does not solve.
        """
        return await self._patiently(self._pool, operation)

    async def load_patiently(self, operation: Callable[[LoadingConnection], Awaitable[T]]) -> T:
        """Run an operation that loads reservations, and repeat it while the database is unavailable.

        Raises:
            StatementFailed: The statement failed for a reason that waiting does not solve.
        """
        return await self._patiently(self._loading_pool, lambda session: operation(LoadingConnection(session)))

    async def _patiently(self, pool: _Pool, operation: Callable[[Session], Awaitable[T]]) -> T:
        failures = 0
        while True:
            session = None
            try:
                async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS), pool.connection() as session:
                    if not self.is_current(session):
                        await session.close()  # The pool replaces it.
                        raise psycopg.OperationalError("a connection from before a restart was closed")
                    result = await operation(session)
            except DATABASE_ERRORS as error:
                if not is_unavailable(error, session):
                    raise statement_failed(error) from error
                failures += 1
                self._note_failure(error, by_loading=pool is self._loading_pool)
                if isinstance(error, TimeoutError):
                    await self._replace_connections()
                await asyncio.sleep(RECONNECT.pause_seconds(failures, random.random()))
            else:
                self._note_success()
                return result

    async def _replace_connections(self) -> None:
        """Replace every session: where one fell silent, as behind a firewall that forgot it, each would cost a wait."""
        for pool in (self._pool, self._loading_pool):
            await pool.drain()

    async def _set_up(self, session: Session) -> None:
        await _set_up(session)
        earlier, self._server = self._server, session.incarnation
        if earlier not in {None, session.incarnation}:
            _log.warning(
                "another server", reason=session.incarnation.difference(earlier), consequence="everything is read anew"
            )

    async def _set_up_loading(self, session: Session) -> None:
        await self._set_up(session)
        await limit_loading(session)

    async def _set_up_pooled(self, session: Session) -> None:
        await self._set_up(session)
        await session.execute(_queries["plan_once"])

    @property
    def lost(self) -> bool:
        """Whether the last operation failed because the database is unavailable."""
        return self._failures > 0

    def _note_failure(self, error: BaseException, *, by_loading: bool) -> None:
        if not self._failures:
            told = condition_of(error) if by_loading and isinstance(error, psycopg.Error) and error.sqlstate else None
            _log.warning("database lost", problem=told or problem_of(error))
        self._failures += 1

    def _note_success(self) -> None:
        if self._failures:
            _log.info("database back", failed_attempts=self._failures)
            DATABASE_RECONNECTS.inc()
        self._failures = 0


class ServerDatabase:
    """The database as long as one server serves it: for what was read from that server."""

    def __init__(self, database: Database, incarnation: ServerIncarnation) -> None:
        self._database = database
        self._incarnation = incarnation

    async def patiently(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        """Run an operation, and repeat it while the server is unavailable.

        Raises:
            ServerReplaced: Another server has taken over; nothing was done.
            StatementFailed: The statement failed for a reason that waiting does not solve.
        """
        return await self._database.patiently(partial(self._here, operation))

    async def load_patiently(self, operation: Callable[[LoadingConnection], Awaitable[T]]) -> T:
        """Run an operation that loads reservations; raises the same."""
        return await self._database.load_patiently(partial(self._here, operation))

    async def _here(self, operation: Callable[[C], Awaitable[T]], session: C) -> T:
        if session.incarnation != self._incarnation:
            raise ServerReplaced
        return await operation(session)


async def limit_loading(session: Session) -> None:
    """Limit each statement of a session that loads reservations, as the daemon does: a row may make one endless."""
    await session.execute(_queries["limit_loading"])


@asynccontextmanager
async def one_connection(database_url: str) -> AsyncIterator[Session]:
    """Open one connection for a command.

    Raises:
        DatabaseUnavailable: PostgreSQL does not respond, rejects the login or has ended the session.
        StatementFailed: A statement failed.
    """
    async with _errors_translated(database_url, connect(database_url)) as connection:
        yield connection


@asynccontextmanager
async def one_loading_connection(database_url: str) -> AsyncIterator[LoadingConnection]:
    """Open one connection for a command that loads reservations.

    Raises:
        DatabaseUnavailable: PostgreSQL does not respond, rejects the login or has ended the session.
        StatementFailed: A statement failed.
    """
    async with _errors_translated(database_url, connect_to_load(database_url)) as connection:
        yield connection


@asynccontextmanager
async def _errors_translated(database_url: str, connecting: Awaitable[C]) -> AsyncIterator[C]:
    try:
        connection = await connecting
    except psycopg.Error as error:
        raise unreachable(error, database_url) from error
    async with connection:
        try:
            yield connection
        except DATABASE_ERRORS as error:
            if not is_unavailable(error, connection):
                raise statement_failed(error) from error
            raise DatabaseUnavailable(
                f"the database was lost: {problem_of(error)}", "Run the command again."
            ) from error


def unreachable(error: psycopg.Error, database_url: str) -> DatabaseUnavailable:
    """Return the error to raise when no connection can be made: why, where to and as whom, and what to correct."""
    origin = connection_origin(database_url, error)
    cause = connection_problem(str(error), origin.values["user"], origin.settings)
    if cause is None:
        where = origin.settings["host"]
        cause = ConnectionProblem(problem_of(error), f"Check that PostgreSQL runs and that {where} is right.")
    return DatabaseUnavailable(
        f"the database cannot be reached: {cause.problem}", cause.remedy, more=[f"Tried as {origin}."]
    )


def statement_failed(error: BaseException) -> StatementFailed:
    """Return the error to raise for a failed statement that waiting does not solve."""
    return StatementFailed(f"a statement failed: {problem_of(error)}", "Find the cause with: cdc-bridge check")
