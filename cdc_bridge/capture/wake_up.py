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
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import Notify, errors
from psycopg.pq import ExecStatus

from cdc_bridge.database import OPERATION_TIMEOUT_SECONDS
from cdc_bridge.queries import load_queries

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

_queries = load_queries(__name__)

CHANGES = "cdc_bridge_change"
"""Channel of committed changes."""
ENDPOINTS = "cdc_bridge_endpoint"
"""Channel of changed endpoints and of deliveries made due."""

_LOCK_ATTEMPTS = 5
_QUEUE_LIMIT = 0.4
"""Below the usage at which writers stop to notify, and as in ``try_wake_up_lock``."""
_TOKEN_CHARACTERS = 16
_MAX_KEPT = 100
_MAX_READS = 16


QUEUE_REMEDY = (
    "End the session that listens and leaves its transaction open, in psql as a DBA: select pg_terminate_backend(pid) "
    "from pg_stat_activity where state like 'idle in transaction%' and xact_start < now() - interval '10 minutes';"
)
"""What empties the queue of notifications."""


@dataclass(frozen=True, slots=True)
class Received:
    """What is kept of a notification: anybody may send them, with 8 kB each, as many as the server's queue takes."""

    channel: str
    token: str
    """The payload, if it can be a token of ours; else empty, as a writer's is."""


class Inbox:
    """The notifications that arrive on a connection, while it waits or runs statements: each different one once."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self.connection = connection
        self._arrived: set[Received] = set()
        connection.add_notify_handler(self._note)

    def _note(self, notification: Notify) -> None:
        if len(self._arrived) < _MAX_KEPT:
            token = notification.payload if len(notification.payload) == _TOKEN_CHARACTERS else ""
            self._arrived.add(Received(notification.channel, token))

    def take(self) -> set[Received]:
        """Return what has arrived, without waiting.

        Raises:
            psycopg.OperationalError: The connection is lost.
        """
        self._read()
        taken, self._arrived = self._arrived, set()
        return taken

    async def ask(self, statement: str) -> str | None:
        """Run a statement; return its one value as text.

        PostgreSQL sends what was notified in front of the response, however much it is, and libpq would keep all of it
        until then. So the connection is read here, a piece at a time.

        Raises:
            psycopg.Error: The statement failed, or the connection is lost.
        """
        pgconn = self.connection.pgconn
        pgconn.send_query(statement.encode())
        async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
            value: str | None = None
            while True:
                while pgconn.flush() or pgconn.is_busy():
                    await until_readable(self.connection, OPERATION_TIMEOUT_SECONDS)
                    self._read()
                result = pgconn.get_result()
                if result is None:
                    return value
                if result.status == ExecStatus.FATAL_ERROR:
                    raise errors.error_from_result(result)
                if result.ntuples and (found := result.get_value(0, 0)) is not None:
                    value = found.decode()

    def _read(self) -> int:
        """Read the next notifications; return in how many pieces they came."""
        pgconn = self.connection.pgconn
        for number in range(_MAX_READS):  # Of some kilobytes each.
            pgconn.consume_input()
            arrived = False
            while notification := pgconn.notifies():
                arrived = True
                payload = notification.extra.decode("ascii", "replace")
                self._note(Notify(notification.relname.decode("ascii", "replace"), payload, notification.be_pid))
            if not arrived:
                return number
        return _MAX_READS


async def listen(connection: AsyncConnection[TupleRow]) -> Inbox:
    """Receive notifications of committed changes, changed endpoints and deliveries made due on a connection."""
    inbox = Inbox(connection)
    await inbox.ask(_queries["listen"])
    return inbox


async def notify(connection: AsyncConnection[TupleRow], token: str) -> None:
    """Send a notification as a writer does, with a token that tells it from a writer's."""
    await connection.execute(_queries["notify"], {"token": token})


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
    send: Callable[[str], Awaitable[object]], receive: Callable[[], Awaitable[Collection[str]]], within_seconds: float
) -> bool:
    """Test the way of notifications: send a token and wait until it arrives.

    Args:
        send: Sends a token, on another connection.
        receive: Waits for notifications and returns their tokens.
        within_seconds: Time limit for both.
    """
    token = secrets.token_hex(_TOKEN_CHARACTERS // 2)
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
    inbox = await listen(listening)

    async def receive() -> set[str]:
        await until_readable(listening, within_seconds)
        return {notification.token for notification in inbox.take()}

    return await notifications_arrive(lambda token: notify(sending, token), receive, within_seconds)


async def take_lock(inbox: Inbox) -> int | None:
    """Take the lock and return the horizon; ``None``: another daemon has it, or notifications may not get through."""
    # A writer that tests the lock holds it for about a microsecond, so a second try nearly always succeeds.
    for _ in range(_LOCK_ATTEMPTS):
        if (horizon := await inbox.ask(_queries["try_wake_up_lock"])) is not None:
            return int(horizon)
    return None


async def release_lock(inbox: Inbox) -> None:
    """Release the lock: this daemon is awake."""
    await inbox.ask(_queries["release_wake_up_lock"])


async def queue_fills_up(connection: AsyncConnection[TupleRow]) -> float | None:
    """Return how full PostgreSQL's queue of notifications is, from 0 to 1; ``None``: not so full that it matters.

    A session that listens and never ends its transaction fills it. Then every commit that notifies fails: so writers do
    not notify any more (``define_capture.sql``), and the daemon polls.
    """
    cursor = await connection.execute(_queries["queue_usage"])
    ((usage,),) = await cursor.fetchall()
    return float(usage) if usage >= _QUEUE_LIMIT else None


async def has_silent_writers(inbox: Inbox, horizon: int) -> bool:
    """Return whether a transaction is open that may commit without a notification."""
    oldest = await inbox.ask(_queries["oldest_transaction"])
    return oldest is not None and int(oldest) < horizon
