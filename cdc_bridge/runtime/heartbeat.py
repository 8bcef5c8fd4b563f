"""The database session by which other daemons see that this one lives.

It holds an advisory lock with a number of the daemon's own. When the daemon is killed, PostgreSQL ends the session and
the lock is free: others need not wait until its leases run out. Through a pooler that shares sessions the lock says
nothing for certain, and the leases' time alone counts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.database import UNAVAILABLE, Database, process_name
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

T = TypeVar("T")

_MOST_NUMBERS = 2**31


class Heartbeat:
    """This daemon's session. What it does about leases it does here."""

    def __init__(self, database: Database, timeout_seconds: float) -> None:
        """Prepare to connect.

        Args:
            database: where.
            timeout_seconds: what takes longer is given up, and the session with it.
        """
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._connection: AsyncConnection[TupleRow] | None = None
        self.number = 0
        self.name = process_name()

    async def run(self, operation: Callable[[AsyncConnection[TupleRow]], Awaitable[T]]) -> T:
        """Run an operation in the session, a new one if the last one ended.

        Raises:
            psycopg.OperationalError, TimeoutError: the database is away; the next operation tries a new session.
            psycopg.Error: it refused the operation.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await operation(self._connection or await self._connect())
        except UNAVAILABLE:
            await self.close()
            raise

    async def close(self) -> None:
        """End the session."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _connect(self) -> AsyncConnection[TupleRow]:
        connection = self._connection = await self._database.connect()
        while True:
            self.number = random.randrange(_MOST_NUMBERS)
            cursor = await connection.execute(_queries["try_heartbeat_lock"], {"daemon_number": self.number})
            record = await cursor.fetchone()
            if record is not None and record[0]:
                return connection
