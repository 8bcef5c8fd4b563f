"""Connections to PostgreSQL, and patience while it is away.

The daemon keeps a small pool for statements; the listener has a connection of its own. Every session
speaks UTC and ISO dates whatever the server's or the role's defaults are, trusts no schema that others may
write to, and notices a peer that is gone without a word.

What the daemon does to the database goes through :meth:`Database.patiently`: it tries again, with
growing pauses, until PostgreSQL is back. Each such operation may therefore run twice, when the connection is
lost after the commit and before its answer, and is written so that this changes nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from cdc_bridge.errors import DatabaseUnavailable, InstallationError
from cdc_bridge.metrics import DATABASE_RECONNECTS
from cdc_bridge.queries import load_queries

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

_queries = load_queries(__name__)

T = TypeVar("T")

OPERATION_TIMEOUT_SECONDS = 60.0
"""A statement that takes longer is given up: the network has swallowed it, or the database is stuck."""

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_POOL_SIZE = 4

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
"""Errors after which trying again may help: besides a lost connection, a server that starts or stops or was demoted."""

_log = structlog.get_logger(__name__)


def backoff_seconds(failures: int, jitter: float) -> float:
    """Return the pause after so many failures in a row: doubling to a limit, and up to half of it shorter.

    Args:
        failures: at least 1.
        jitter: a random number in [0, 1).
    """
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))
    return longest * (1 - jitter / 2)


def connection_parameters(database_url: str) -> dict[str, Any]:
    """Return libpq parameters with ours where the user's conninfo has none.

    Raises:
        psycopg.ProgrammingError: the conninfo cannot be read.
    """
    return _DEFAULTS | conninfo_to_dict(database_url)


async def speak_plainly(connection: AsyncConnection[TupleRow]) -> None:
    """Make a session speak UTC and ISO dates, and trust no schema that others may write to."""
    # With this path a name without a schema is PostgreSQL's own, whatever others have put into public.
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
    """Open one autocommit connection.

    Raises:
        psycopg.OperationalError: PostgreSQL does not answer or refuses the login.
    """
    connection = await AsyncConnection.connect(autocommit=True, **connection_parameters(database_url))
    await speak_plainly(connection)
    return connection


def process_name() -> str:
    """Return what this process is called among all daemons: its host and its process id."""
    return f"{socket.gethostname()[:30]}:{os.getpid()}"


def problem_of(error: BaseException) -> str:
    """Return what an error says, on one line, and no value of a row: that may be a guest's, or a secret."""
    if isinstance(error, psycopg.DataError | errors.RaiseException) and error.sqlstate:
        return f"a value cannot be used where it stands ({type(error).__name__}, SQLSTATE {error.sqlstate})"
    if isinstance(error, psycopg.IntegrityError) and error.diag.message_primary:
        return error.diag.message_primary  # Its detail repeats the row.
    return " ".join(str(error).split()) or type(error).__name__


class Database:
    """The database the daemon works in."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._failures = 0
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            kwargs=connection_parameters(database_url) | {"autocommit": True},
            min_size=1,
            max_size=_POOL_SIZE,
            configure=_set_up_pooled,
            # The pool's own patience is short, so that ours decides when to try again.
            timeout=5,
            reconnect_timeout=3,
            open=False,
        )

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer or refuses the login.
        """
        try:
            await (await self.connect()).close()
        except psycopg.Error as error:
            raise DatabaseUnavailable(
                f"the database cannot be reached: {problem_of(error)}",
                "See that PostgreSQL runs and that CDC_BRIDGE_DATABASE_URL is right; try it with: cdc-bridge check",
            ) from error
        await self._pool.open()

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close(timeout=2)

    async def connect(self) -> AsyncConnection[TupleRow]:
        """Open a connection outside the pool.

        Raises:
            psycopg.OperationalError: PostgreSQL does not answer or refuses the login.
        """
        connection = await connect(self._url)
        await _set_up(connection)
        return connection

    async def patiently(self, operation: Callable[[AsyncConnection[TupleRow]], Awaitable[T]]) -> T:
        """Run an operation, again and again while the database is away.

        Raises:
            InstallationError: the database refused it for a reason that waiting does not mend.
        """
        failures = 0
        while True:
            try:
                async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS), self._pool.connection() as connection:
                    result = await operation(connection)
            except UNAVAILABLE as error:
                failures += 1
                self._note_failure(error)
                await asyncio.sleep(backoff_seconds(failures, random.random()))
            except psycopg.Error as error:
                raise refusal(error) from error
            else:
                self._note_success()
                return result

    @property
    def lost(self) -> bool:
        """Whether the last operation failed because the database is away."""
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
    """Open one connection for a command that does one thing.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer, refuses the login or has ended the session.
        InstallationError: it refused a statement.
    """
    try:
        connection = await connect(database_url)
    except psycopg.Error as error:
        raise DatabaseUnavailable(
            f"the database cannot be reached: {problem_of(error)}",
            "See that PostgreSQL runs and that CDC_BRIDGE_DATABASE_URL is right.",
        ) from error
    async with connection:
        try:
            await connection.execute(_queries["set_up_command"])
            yield connection
        except UNAVAILABLE as error:
            raise DatabaseUnavailable(
                f"the database was lost: {problem_of(error)}", "Run the command again."
            ) from error
        except psycopg.Error as error:
            raise refusal(error) from error


def refusal(error: BaseException) -> InstallationError:
    """Return a refusal that waiting does not mend, in words."""
    return InstallationError(
        f"the database refused a statement: {problem_of(error)}", "See what is wrong with: cdc-bridge check"
    )
