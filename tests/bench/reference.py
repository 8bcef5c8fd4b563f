"""What the bridge is measured against, as processes of their own, which spare themselves what the daemon does.

``python -m tests.bench.reference post``: a bare aiohttp client. ``listen``: a bare LISTEN and one POST for each
notification. Both read what they need as JSON from standard input.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from typing import Any

import aiohttp
import orjson
import psycopg

from cdc_bridge.daemon import collect_garbage_seldom


def _session(ca_file: str, in_flight: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=in_flight, ssl=ssl.create_default_context(cafile=ca_file)),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


async def _post(
    url: str, ca_file: str, in_flight: int, count: int, headers: dict[str, str], body: str
) -> tuple[float, float]:
    """Post one message over and over; return requests per second and their processor time, in seconds."""
    encoded = body.encode()
    numbers = iter(range(count))

    async def work(session: aiohttp.ClientSession) -> None:
        for _ in numbers:
            async with session.post(url, data=encoded, headers=headers) as response:
                await response.read()
                assert response.ok

    async with _session(ca_file, in_flight) as session:
        began, used = time.monotonic(), time.process_time()
        await asyncio.gather(*(work(session) for _ in range(in_flight)))
        return count / (time.monotonic() - began), time.process_time() - used


async def _listen(url: str, ca_file: str, database_url: str, body: str) -> None:
    """Post a body for each notification, until standard input ends."""
    async with (
        _session(ca_file, 64) as session,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
    ):
        await connection.execute("listen reservation")
        requests: set[asyncio.Task[None]] = set()

        async def send(reservation_id: str) -> None:
            headers = {"content-type": "application/json", "ce-subject": reservation_id}
            async with session.post(url, data=body.encode(), headers=headers) as response:
                await response.read()

        async def follow() -> None:
            async for notification in connection.notifies():
                sending = asyncio.create_task(send(notification.payload))
                requests.add(sending)
                sending.add_done_callback(requests.discard)

        following = asyncio.create_task(follow())
        print("listening", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        following.cancel()


if __name__ == "__main__":
    task: dict[str, Any] = orjson.loads(sys.stdin.buffer.readline())
    collect_garbage_seldom()
    if sys.argv[1] == "post":
        print(*asyncio.run(_post(**task)))
    else:
        asyncio.run(_listen(**task))
