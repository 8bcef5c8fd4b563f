"""The database session by which other daemons see that this one is alive.

It holds an advisory lock on the daemon's number. When the daemon is killed, PostgreSQL ends the session and releases
the lock, so other daemons need not wait until the leases expire. Through a pooler that shares sessions the lock proves
nothing, and only the leases' time counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cdc_bridge.database import DATABASE_ERRORS, Database, is_unavailable, process_name
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import ServerIncarnation, Session

_queries = load_queries(__name__)

T = TypeVar("T")


class Heartbeat:
    """This daemon's heartbeat session; lease statements run in it."""

    def __init__(self, database: Database, timeout_seconds: float) -> None:
        """Prepare to connect.

        Args:
            database: Where to connect.
            timeout_seconds: Time after which an operation is given up, and the session with it.
        """
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._connection: Session | None = None
        self._daemon_id: int | None = None
        self._server: ServerIncarnation | None = None
        self._locked = False
        self.name = process_name()

    async def run(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        """Run an operation in the session; opens a new session if the last one has ended.

        Raises:
            psycopg.OperationalError, TimeoutError: The database is away. The next operation tries a new session.
        """
        if self._connection is not None and not self._database.is_current(self._connection):
            await self.close()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                connection = self._connection or await self._connect()
                if connection.incarnation == self._server and not self._locked:
                    await self._lock(connection)  # The session before may have it for some time.
                return await operation(connection)
        except DATABASE_ERRORS as error:
            if is_unavailable(error, self._connection):
                await self.close()
            raise

    async def lock(self, daemon_id: int) -> bool:
        """Lock this daemon's number; return whether that was possible. A new session locks it anew."""
        if self._connection is None:
            return False
        self._daemon_id, self._server = daemon_id, self._connection.incarnation
        return await self._lock(self._connection)

    async def close(self) -> None:
        """End the session."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _connect(self) -> Session:
        self._connection, self._locked = await self._database.connect(), False
        return self._connection

    async def _lock(self, connection: Session) -> bool:
        cursor = await connection.execute(_queries["try_heartbeat_lock"], {"daemon_id": self._daemon_id})
        self._locked = await cursor.fetchone() == (True,)
        return self._locked
