"""Sessions for what people ask: to read the logs, and to load reservations. The dashboard has pools of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.database import one_loading_connection
from cdc_bridge.schema.session import command_session
from cdc_bridge.schema.version import require_installed
from cdc_bridge.sessions import LoadingConnection

T = TypeVar("T")


class Sessions(Protocol):
    """Run operations on connections to the database."""

    async def read(self, operation: Callable[[AsyncConnection[TupleRow]], Coroutine[Any, Any, T]]) -> T:
        """Run an operation that reads."""

    async def load(self, operation: Callable[[LoadingConnection], Coroutine[Any, Any, T]]) -> T:
        """Run an operation that loads reservations."""


@dataclass(frozen=True, slots=True)
class CommandSessions:
    """Opens a connection for each operation of a command."""

    database_url: str

    async def read(self, operation: Callable[[AsyncConnection[TupleRow]], Coroutine[Any, Any, T]]) -> T:
        """Run an operation that reads.

        Raises:
            DatabaseUnavailable: The database does not respond.
            InstallationError: The SQL side is not what is needed.
        """
        async with command_session(self.database_url) as connection:
            return await operation(connection)

    async def load(self, operation: Callable[[LoadingConnection], Coroutine[Any, Any, T]]) -> T:
        """Run an operation that loads reservations; raises the same."""
        async with one_loading_connection(self.database_url) as connection:
            await require_installed(connection)
            return await operation(connection)
