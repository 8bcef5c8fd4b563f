"""A command's connection to a database in which cdc-bridge is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from cdc_bridge.database import one_connection, problem_of
from cdc_bridge.errors import DatabaseUnavailable, InstallationError
from cdc_bridge.schema.version import require_installed

DatabaseRef = str | AsyncConnection[TupleRow]
"""Where a command works: in the database of a URL, over a connection of its own; or over a connection that is open."""


@asynccontextmanager
async def command_session(database: DatabaseRef) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Open an autocommit connection for one command.

    Args:
        database: Its URL; or a connection of the caller's, who handles its errors, and whose transaction it may be.

    Raises:
        DatabaseUnavailable: The database does not respond, was lost or is read-only.
        InstallationError: The SQL side is not what is needed, or the role lacks a right.
    """
    if not isinstance(database, str):
        yield database
        return
    async with one_connection(database) as connection:
        try:
            await require_installed(connection)
            yield connection
        except errors.InsufficientPrivilege as error:
            raise InstallationError(
                f"role {connection.info.user} may not do this: {problem_of(error)}",
                "Log in as role cdc_bridge. To see whether it has all its rights: cdc-bridge check",
            ) from error
        except errors.ReadOnlySqlTransaction as error:
            raise DatabaseUnavailable(
                "the database cannot be written to: it is a standby, or read-only at present", "Connect to the primary."
            ) from error
