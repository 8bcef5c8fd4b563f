"""A daemon that sleeps on however often it is rung for: the worst that writers can meet.

A real one is asleep until the first ring only, and then not again before it has nothing left to do. This one holds the
wake-up lock all the time, so every commit sends a NOTIFY and has PostgreSQL wake somebody. It is a process of its
own, ``python -m tests.bench.sleeper``, which reads a conninfo, says ``asleep`` and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from cdc_bridge.queries import all_queries
from tests.support.databases import Database


@asynccontextmanager
async def sleeper(database: Database) -> AsyncIterator[None]:
    """Have somebody sleep, in a database, for as long as the block runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.sleeper", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{database.bridge_url}\n".encode())
        assert await process.stdout.readline() == b"asleep\n"
        yield
        assert process.returncode is None, "the sleeper ended before its time"
    finally:
        process.stdin.close()
        await process.wait()


async def _sleep(conninfo: str) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute(all_queries()["listen"])
        cursor = await connection.execute(all_queries()["try_wake_up_lock"])
        assert await cursor.fetchone() != (None,)
        hearing = asyncio.create_task(_hear(connection))
        print("asleep", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        hearing.cancel()


async def _hear(connection: psycopg.AsyncConnection) -> None:
    async for _ in connection.notifies():
        pass


if __name__ == "__main__":
    asyncio.run(_sleep(sys.stdin.readline()))
