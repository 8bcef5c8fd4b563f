"""The database's side of the wake-up: notifications, and the lock that asks writers for them.

A committing NOTIFY takes a cluster-wide lock across its WAL flush, so a writer sends one only if a daemon sleeps. It
learns that from an advisory lock (``sql/functions/define_capture.sql``): the sleeping daemon holds it exclusively, a
writer tries it shared.

No change that is committed meanwhile may be lost. So a daemon goes to sleep in this order:

1. Take the lock. From here on every writer that has not tested it yet will notify.
2. Draw a transaction id, the *horizon*. A writer that tested the lock too early, and so will not notify, has drawn a
   lower one.
3. Ask whether a transaction below the horizon is open: it may commit without a notification.
4. Have every reader read to the end of the log. That finds what was committed up to step 3.
5. If one was open in step 3, go back there after a pause. Else wait for a notification, with a rare safety read.

On waking, the readers are woken first and then, before anything is awaited, the lock is released: a busy daemon costs
writers nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from cdc_bridge.database import OPERATION_TIMEOUT_SECONDS
from cdc_bridge.queries import load_queries

if TYPE_CHECKING:
    from psycopg import AsyncConnection, AsyncCursor, Notify
    from psycopg.rows import TupleRow

_queries = load_queries(__name__)

CHANGES = "cdc_bridge_change"
"""Channel of committed changes."""
ENDPOINTS = "cdc_bridge_endpoint"
"""Channel of changed endpoints and of deliveries made due."""

_LOCK_ATTEMPTS = 5


async def listen(connection: AsyncConnection[TupleRow]) -> None:
    """Receive notifications of committed changes, changed endpoints and deliveries made due on a connection."""
    await _execute(connection, "listen")


async def notify(connection: AsyncConnection[TupleRow], token: str) -> None:
    """Send a notification as a writer does, with a token that tells it from a writer's."""
    await connection.execute(_queries["notify"], {"token": token})


async def received(connection: AsyncConnection[TupleRow]) -> list[Notify]:
    """Return the notifications that have arrived, without waiting."""
    return [notification async for notification in connection.notifies(timeout=0)]


async def until_readable(connection: AsyncConnection[TupleRow], within_seconds: float) -> bool:
    """Wait until the server has sent something; return whether it came in time.

    ``notifies()`` would look ten times a second meanwhile, which is most of what an idle daemon costs.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection.fileno(), readable.set)
    try:
        async with asyncio.timeout(within_seconds):
            await readable.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(connection.fileno())
    return True


async def notifications_arrive(
    send: Callable[[str], Awaitable[object]], receive: Callable[[], Awaitable[Sequence[str]]], within_seconds: float
) -> bool:
    """Test the way of notifications: send a token and wait until it arrives.

    Args:
        send: Sends a token, on another connection.
        receive: Waits for notifications and returns their tokens.
        within_seconds: Time limit for both.
    """
    token = secrets.token_hex(8)
    try:
        async with asyncio.timeout(within_seconds):
            await send(token)
            while token not in await receive():
                pass
    except TimeoutError:
        return False
    return True


async def connections_notify(
    listening: AsyncConnection[TupleRow], sending: AsyncConnection[TupleRow], within_seconds: float
) -> bool:
    """Return whether a notification sent on one connection arrives on another."""

    async def receive() -> list[str]:
        await until_readable(listening, within_seconds)
        return [notification.payload for notification in await received(listening)]

    await listen(listening)
    return await notifications_arrive(lambda token: notify(sending, token), receive, within_seconds)


async def take_lock(connection: AsyncConnection[TupleRow]) -> int | None:
    """Take the lock and return the horizon; ``None``: another daemon has the lock."""
    # A writer that tests the lock holds it for about a microsecond, so a second try nearly always succeeds.
    for _ in range(_LOCK_ATTEMPTS):
        horizon: int | None = await _value(connection, "try_wake_up_lock")
        if horizon is not None:
            return horizon
    return None


async def release_lock(connection: AsyncConnection[TupleRow]) -> None:
    """Release the lock: this daemon is awake."""
    await _execute(connection, "release_wake_up_lock")


async def has_silent_writers(connection: AsyncConnection[TupleRow], horizon: int) -> bool:
    """Return whether a transaction is open that may commit without a notification."""
    oldest: int = await _value(connection, "oldest_transaction")
    return oldest < horizon


async def _execute(connection: AsyncConnection[TupleRow], name: str) -> AsyncCursor[TupleRow]:
    async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
        return await connection.execute(_queries[name])


async def _value(connection: AsyncConnection[TupleRow], name: str) -> Any:
    cursor = await _execute(connection, name)
    record = await cursor.fetchone()
    return record[0] if record else None
