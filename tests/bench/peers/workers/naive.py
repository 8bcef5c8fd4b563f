"""The naive bridge: a LISTEN, and for each notification the row as it stands, in a POST."""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import psycopg
from psycopg_pool import AsyncConnectionPool

from tests.bench.peers.workers.posting import post

_log = logging.getLogger(__name__)
_ROW = "select to_json(r)::text from public.reservations r where id = %s"


async def deliver(pool: AsyncConnectionPool, reservation_id: str) -> None:
    """Post one reservation, or say that it did not work."""
    try:
        async with pool.connection() as connection:
            cursor = await connection.execute(_ROW, [reservation_id])
            ((body,),) = await cursor.fetchall()
        await post(reservation_id, body)
    except (aiohttp.ClientError, psycopg.Error):
        _log.exception("%s was not delivered", reservation_id)


async def main() -> None:
    """Deliver until the end."""
    async with (
        AsyncConnectionPool() as pool,
        await psycopg.AsyncConnection.connect(autocommit=True) as connection,
        asyncio.TaskGroup() as tasks,
    ):
        await connection.execute("listen reservation")
        async for notification in connection.notifies():
            tasks.create_task(deliver(pool, notification.payload))


if __name__ == "__main__":
    asyncio.run(main())
