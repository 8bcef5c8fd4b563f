"""A command's connection to a database in which cdc-bridge is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from cdc_bridge.database import one_connection, problem_of
from cdc_bridge.errors import DatabaseUnavailable, InstallationError
from cdc_bridge.schema.version import require_installed


@asynccontextmanager
async def command_session(database_url: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Open an autocommit connection for one command.

    Raises:
        DatabaseUnavailable: The database does not respond, was lost or is read-only.
        InstallationError: The SQL side is not what is needed, or the role lacks a right.
    """
    async with one_connection(database_url) as connection:
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
