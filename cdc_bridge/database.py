"""Connections to PostgreSQL, and retries while it is unavailable.

The daemon keeps a small pool for statements and one for loading reservations; the listener has a connection of its own.
Every session uses UTC and ISO dates whatever the defaults of the server or the role are, trusts no schema that others
may write to, and detects a peer that is gone.

The daemon's statements go through :meth:`Database.patiently`, which tries again, with growing pauses, until PostgreSQL
is back. An operation may therefore run twice: if the connection is lost after the commit and before its response. So
each is idempotent.

Any function that takes a connection raises ``psycopg.Error`` when the database fails.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NewType, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from cdc_bridge.backoff import Backoff
from cdc_bridge.errors import DatabaseUnavailable, InstallationError
from cdc_bridge.metrics import DATABASE_RECONNECTS
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

T = TypeVar("T")

LoadingConnection = NewType("LoadingConnection", AsyncConnection[TupleRow])
"""An autocommit connection that loads reservations and runs nothing else: see :mod:`cdc_bridge.payload.isolated`."""

OPERATION_TIMEOUT_SECONDS = 60.0
"""A statement that takes longer is abandoned: its connection is dead, or the database is stuck."""

RECONNECT = Backoff(first_seconds=0.1, longest_seconds=5.0, jitter=0.5)
"""Pauses between attempts while the database is unavailable."""

_POOL_SIZE = 4
_LOADING_POOL_SIZE = 2

_DEFAULTS = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "cdc-bridge",
}

UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
    PoolTimeout,
    TimeoutError,
)
"""Errors after which trying again may help: a lost connection, or a server that starts, stops or was demoted."""

_log = structlog.get_logger(__name__)


def connection_parameters(database_url: str) -> dict[str, Any]:
    """Return the libpq parameters of a conninfo, completed by our defaults.

    Raises:
        psycopg.ProgrammingError: The conninfo cannot be parsed.
    """
    return _DEFAULTS | conninfo_to_dict(database_url)


async def speak_plainly(connection: AsyncConnection[TupleRow]) -> None:
    """Pin time zone, date style and search_path."""
    # With this path an unqualified name is PostgreSQL's own, whatever others have put into public.
    await connection.execute(
        "set search_path to pg_catalog, pg_temp; "
        "set timezone to 'UTC'; set datestyle to 'ISO'; set intervalstyle to 'postgres'"
    )


async def _set_up(connection: AsyncConnection[TupleRow]) -> None:
    await speak_plainly(connection)
    await connection.execute(_queries["set_up_session"], {"name": f"cdc-bridge {process_name()}"})


async def _set_up_pooled(connection: AsyncConnection[TupleRow]) -> None:
    await _set_up(connection)
    await connection.execute(_queries["plan_once"])


async def connect(database_url: str) -> AsyncConnection[TupleRow]:
    """Open one autocommit connection."""
    connection = await AsyncConnection.connect(autocommit=True, **connection_parameters(database_url))
    await speak_plainly(connection)
    return connection


async def connect_to_load(database_url: str) -> LoadingConnection:
    """Open one connection to load reservations."""
    connection = await AsyncConnection.connect(
        autocommit=True, prepare_threshold=None, **connection_parameters(database_url)
    )
    await speak_plainly(connection)
    return LoadingConnection(connection)


def process_name() -> str:
    """Return the name of this process among all daemons: its host and its process id."""
    return f"{socket.gethostname()[:30]}:{os.getpid()}"


def problem_of(error: BaseException) -> str:
    """Return an error's message on one line, without any value of a row: it may be a guest's, or a secret."""
    if isinstance(error, psycopg.DataError | errors.RaiseException) and error.sqlstate:
        return f"a value cannot be used where it stands ({type(error).__name__}, SQLSTATE {error.sqlstate})"
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary  # The detail may repeat the row, the context is the whole statement.
    return " ".join(str(error).split()) or type(error).__name__


_Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


class Database:
    """The daemon's pools of connections."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._failures = 0
        parameters = connection_parameters(database_url) | {"autocommit": True}
        # The pools' own time-outs are short, so that patiently() decides when to try again.
        self._pool: _Pool = AsyncConnectionPool(
            kwargs=parameters,
            min_size=1,
            max_size=_POOL_SIZE,
            configure=_set_up_pooled,
            timeout=5,
            reconnect_timeout=3,
            open=False,
        )
        self._loading_pool: _Pool = AsyncConnectionPool(
            kwargs=parameters | {"prepare_threshold": None},
            min_size=1,
            max_size=_LOADING_POOL_SIZE,
            configure=_set_up,
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
            raise DatabaseUnavailable(
                f"the database cannot be reached: {problem_of(error)}",
                "Check that PostgreSQL runs and that CDC_BRIDGE_DATABASE_URL is right; try it with: cdc-bridge check",
            ) from error
        await self._pool.open()
        await self._loading_pool.open()

    async def close(self) -> None:
        """Close the pools."""
        await self._loading_pool.close(timeout=2)
        await self._pool.close(timeout=2)

    async def connect(self) -> AsyncConnection[TupleRow]:
        """Open a connection outside the pools."""
        connection = await connect(self._url)
        await _set_up(connection)
        return connection

    async def connect_to_load(self) -> LoadingConnection:
        """Open a connection outside the pools that loads reservations."""
        connection = await connect_to_load(self._url)
        await _set_up(connection)
        return connection

    async def patiently(self, operation: Callable[[AsyncConnection[TupleRow]], Awaitable[T]]) -> T:
        """Run an operation, and repeat it while the database is unavailable.

        Raises:
            InstallationError: The statement failed for a reason that waiting does not solve.
        """
        return await self._patiently(self._pool, operation)

    async def load_patiently(self, operation: Callable[[LoadingConnection], Awaitable[T]]) -> T:
        """Run an operation that loads reservations, and repeat it while the database is unavailable.

        Raises:
            InstallationError: The statement failed for a reason that waiting does not solve.
        """
        return await self._patiently(self._loading_pool, lambda connection: operation(LoadingConnection(connection)))

    async def _patiently(self, pool: _Pool, operation: Callable[[AsyncConnection[TupleRow]], Awaitable[T]]) -> T:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS), pool.connection() as connection:
                    result = await operation(connection)
            except UNAVAILABLE as error:
                failures += 1
                self._note_failure(error)
                await asyncio.sleep(RECONNECT.pause_seconds(failures, random.random()))
            except psycopg.Error as error:
                raise statement_failed(error) from error
            else:
                self._note_success()
                return result

    @property
    def lost(self) -> bool:
        """Whether the last operation failed because the database is unavailable."""
        return self._failures > 0

    def _note_failure(self, error: BaseException) -> None:
        if not self._failures:
            _log.warning("database lost", problem=problem_of(error))
        self._failures += 1

    def _note_success(self) -> None:
        if self._failures:
            _log.info("database back", failed_attempts=self._failures)
            DATABASE_RECONNECTS.inc()
        self._failures = 0


@asynccontextmanager
async def one_connection(database_url: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Open one connection for a command.

    Raises:
        DatabaseUnavailable: PostgreSQL does not respond, rejects the login or has ended the session.
        InstallationError: A statement failed.
    """
    try:
        connection = await connect(database_url)
    except psycopg.Error as error:
        raise _unreachable(error) from error
    async with connection:
        with _errors_translated():
            await connection.execute(_queries["set_up_command"])
            yield connection


@asynccontextmanager
async def one_loading_connection(database_url: str) -> AsyncIterator[LoadingConnection]:
    """Open one connection for a command that loads reservations.

    Raises:
        DatabaseUnavailable: PostgreSQL does not respond, rejects the login or has ended the session.
        InstallationError: A statement failed.
    """
    try:
        connection = await connect_to_load(database_url)
    except psycopg.Error as error:
        raise _unreachable(error) from error
    async with connection:
        with _errors_translated():
            yield connection


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except UNAVAILABLE as error:
        raise DatabaseUnavailable(f"the database was lost: {problem_of(error)}", "Run the command again.") from error
    except psycopg.Error as error:
        raise statement_failed(error) from error


def _unreachable(error: psycopg.Error) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"the database cannot be reached: {problem_of(error)}",
        "Check that PostgreSQL runs and that CDC_BRIDGE_DATABASE_URL is right.",
    )


def statement_failed(error: BaseException) -> InstallationError:
    """Return the error to raise for a failed statement that waiting does not solve."""
    return InstallationError(f"a statement failed: {problem_of(error)}", "Find the cause with: cdc-bridge check")
