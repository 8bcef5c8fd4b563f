"""The doorbell: wakes the readers of the change log when something was committed.

A committing NOTIFY takes a lock for the whole cluster across its WAL flush, so writers must send one only when
somebody sleeps. Whether somebody does, they learn from an advisory lock (``sql/functions/attach.sql``): the sleeper
holds it exclusively, a writer tries it shared.

Going to sleep must not lose a change that is committed meanwhile. In this order:

1. Take the lock. From here on every writer that has not tested it yet will ring.
2. Draw a transaction id, the ``horizon``. Whoever tested the lock too early, and so will not ring, had drawn a
   lower one.
3. See whether a transaction below the horizon still runs: its commit may be silent.
4. Have every reader read to the end of the log: that finds what was committed up to step 3.
5. If one ran at step 3, go back there after a moment. Else wait for the bell alone, with a slow read as a net below it.

On waking, the readers are woken and then, before anything is waited for, the lock is let go, so that a busy daemon
costs writers nothing. For some milliseconds it is not taken again: the calls go out first.

Where the bell cannot be heard (pgbouncer in transaction mode, a half-open connection) or must not ring
(``PREPARE TRANSACTION`` refuses to follow a NOTIFY; setting ``wake = "poll"``) the readers are woken at intervals
instead. That it can be heard is not taken on trust: the listener rings it itself, at the start and now
and then, and waits for the sound.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import psycopg
import structlog

from cdc_bridge.database import OPERATION_TIMEOUT_SECONDS, Database, backoff_seconds, problem_of
from cdc_bridge.metrics import WAKE_UPS
from cdc_bridge.queries import load_queries
from cdc_bridge.tasks import run_together

if TYPE_CHECKING:
    from psycopg import AsyncConnection, AsyncCursor
    from psycopg.rows import TupleRow

_queries = load_queries(__name__)

SAFETY_READ_SECONDS = 20.0
"""Interval of reads while idle, should a notification be lost."""

_TEST_INTERVAL_SECONDS = 60.0
_HEARD_WITHIN_SECONDS = 5.0
_LOCK_TRIES = 5
_AWAKE_SECONDS = 0.003
_ANNOUNCEMENTS = "cdc_bridge_endpoint"

_log = structlog.get_logger(__name__)


class Reader:
    """One reader's side of the doorbell.

    It is *reading* while it works its way to the end of the log, *resting* once it is there, and
    *held up* when it cannot take more, whatever is committed. The listener sleeps only when some reader rests and
    none reads.
    """

    def __init__(self, readers_changed: asyncio.Event) -> None:
        self._readers_changed = readers_changed
        self._rung = asyncio.Event()
        self.state: Literal["reading", "resting", "held up"] = "reading"
        self.found_changes = False

    def _enter(self, state: Literal["reading", "resting", "held up"]) -> None:
        self.state = state
        self._readers_changed.set()

    def found(self) -> None:
        """Say that there was something to read, so there may be more."""
        self.found_changes = True
        self._readers_changed.set()

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Mark a time in which it cannot take more changes; afterwards it reads again."""
        self._enter("held up")
        yield
        self._enter("reading")

    async def rest(self) -> None:
        """Wait, having read to the end, until there may be more; then it reads again."""
        self._rung.clear()
        self._enter("resting")
        await self._rung.wait()

    def wake(self) -> None:
        """End its rest."""
        self.found_changes = False
        if self.state == "resting":
            self._enter("reading")
            self._rung.set()


class Listener:
    """Wakes the readers of the change log, by the doorbell or by polling."""

    def __init__(
        self,
        database: Database,
        *,
        use_notify: bool,
        poll_interval_seconds: float,
        safety_read_seconds: float = SAFETY_READ_SECONDS,
        test_interval_seconds: float = _TEST_INTERVAL_SECONDS,
    ) -> None:
        """Prepare to listen.

        Args:
            database: where; the listener opens a connection of its own.
            use_notify: if not, it only polls, and no writer ever rings.
            poll_interval_seconds: time between wakings while polling, or while a silent writer may yet commit.
            safety_read_seconds: time between wakings while asleep: the net below the doorbell.
            test_interval_seconds: time between proofs that the doorbell can be heard, and between tries to
                get back to it.
        """
        self._database = database
        self._use_doorbell = use_notify
        self._poll_interval_seconds = poll_interval_seconds
        self._safety_read_seconds = safety_read_seconds
        self._test_interval_seconds = test_interval_seconds
        self._readers: list[Reader] = []
        self._readers_changed = asyncio.Event()
        self._polling = asyncio.Event()
        self._polling.set()
        self._next_test_at = 0.0
        self._reason_for_polling = ""
        self.announced = asyncio.Event()
        """Set when somebody announced a change of an endpoint or of what is due; while polling, at every look."""

    @property
    def listening(self) -> bool:
        """Whether the doorbell is heard; if not, it polls."""
        return not self._polling.is_set()

    @property
    def fallen_back(self) -> str | None:
        """Why it polls though it is meant to listen; ``None``: it does not."""
        return self._reason_for_polling or None

    def reader(self) -> Reader:
        """Return a new reader, which begins by reading."""
        reader = Reader(self._readers_changed)
        self._readers.append(reader)
        return reader

    def dismiss(self, reader: Reader) -> None:
        """Wake a reader no more."""
        self._readers.remove(reader)
        self._readers_changed.set()

    async def run(self) -> None:
        """Wake the readers whenever something may have been committed, until cancelled."""
        if self._use_doorbell:
            await run_together(self._poll(), self._listen())
        else:
            _log.info("polling", reason="asked for by the setting wake", interval_seconds=self._poll_interval_seconds)
            await self._poll()

    async def _poll(self) -> None:
        while True:
            await self._polling.wait()
            WAKE_UPS.labels("polling").inc()
            self._ring()
            self.announced.set()
            await asyncio.sleep(self._poll_interval_seconds)

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                async with await self._database.connect() as connection:
                    failures = 0
                    await self._listen_on(connection)
                reason, pause = "a ring of our own was not heard", self._test_interval_seconds
            except (psycopg.Error, TimeoutError) as error:
                failures += 1
                reason, pause = problem_of(error), backoff_seconds(failures, random.random())
            self._fall_back_to_polling(reason)
            await asyncio.sleep(pause)

    async def _listen_on(self, connection: AsyncConnection[TupleRow]) -> None:
        """Sleep and wake by turns; return when the doorbell cannot be heard on this connection."""
        await _execute(connection, "listen")
        await _execute(connection, "listen_for_endpoints")
        self._next_test_at = 0.0
        while True:
            if self._seconds_until_test() <= 0 and not await self._hears_itself(connection):
                return
            self._use_notifications()
            if not await self._until(self._all_at_rest):
                self._ring()  # One reader is busy for long: the others are not to wait for it.
                await self._rings(connection, 0)
            elif (horizon := await self._lock(connection)) is not None:
                rung = await self._sleep(connection, horizon)
                if rung:
                    self._ring()
                    await asyncio.sleep(0)  # The readers begin first.
                await _execute(connection, "release_wake_up_lock")
                if rung:
                    # Let the calls go out first, and be rung for once by those who commit one right after another.
                    await asyncio.sleep(_AWAKE_SECONDS)
            else:
                await asyncio.sleep(self._poll_interval_seconds)
                self._ring()

    async def _lock(self, connection: AsyncConnection[TupleRow]) -> int | None:
        """Take the lock and return the horizon; ``None``: the lock cannot be had."""
        # A writer that tests the lock holds it for about a microsecond, so a second try nearly always gets it.
        for _ in range(_LOCK_TRIES):
            horizon: int | None = await _value(connection, "try_wake_up_lock")
            if horizon is not None:
                return horizon
        return None

    async def _sleep(self, connection: AsyncConnection[TupleRow], horizon: int) -> bool:
        """With the lock taken, return when there may be changes, or (``False``) it is time to test the doorbell."""
        silent_writers = True
        while True:
            if silent_writers:
                # Asked before the read, so that the read sees whatever has ended by now.
                silent_writers = await _value(connection, "oldest_transaction") < horizon
            self._ring()
            if not await self._until(lambda: self._all_at_rest() or self._changes_found()) or self._changes_found():
                return True
            pause = self._poll_interval_seconds if silent_writers else self._safety_read_seconds
            if await self._rings(connection, min(pause, self._seconds_until_test())):
                WAKE_UPS.labels("doorbell").inc()
                return True
            WAKE_UPS.labels("open transaction" if silent_writers else "safety read").inc()
            if self._seconds_until_test() <= 0:
                return False

    async def _hears_itself(self, connection: AsyncConnection[TupleRow]) -> bool:
        """Ring from another connection and say whether it was heard on this one."""
        words = secrets.token_hex(8)
        try:
            async with asyncio.timeout(_HEARD_WITHIN_SECONDS):
                await self._database.patiently(lambda other: other.execute(_queries["ring"], {"words": words}))
                while words not in await self._rings(connection, _HEARD_WITHIN_SECONDS):
                    pass
        except TimeoutError:
            return False
        self._next_test_at = asyncio.get_running_loop().time() + self._test_interval_seconds
        return True

    async def _rings(self, connection: AsyncConnection[TupleRow], within_seconds: float) -> list[str]:
        """Wait for rings and announcements; return the words that came with them, none from a writer's."""
        heard = [ring async for ring in connection.notifies(timeout=0)]
        if not heard and within_seconds > 0 and await _until_readable(connection, within_seconds):
            self._ring()  # Before it is read what was said: nearly always that something was committed.
            heard = [ring async for ring in connection.notifies(timeout=0)]
        if any(ring.channel == _ANNOUNCEMENTS for ring in heard):
            self.announced.set()
        return [ring.payload for ring in heard]

    def _seconds_until_test(self) -> float:
        return max(0.0, self._next_test_at - asyncio.get_running_loop().time())

    def _use_notifications(self) -> None:
        if self._polling.is_set():
            self._polling.clear()
            self._reason_for_polling = ""
            _log.info("listening", channel="cdc_bridge_change")
            self._ring()

    def _fall_back_to_polling(self, reason: str) -> None:
        if reason != self._reason_for_polling:
            _log.warning(
                "doorbell not heard, polling instead",
                reason=reason,
                interval_seconds=self._poll_interval_seconds,
                remedy="connect to PostgreSQL directly or through a pooler in session mode, or set wake = poll",
            )
        self._reason_for_polling = reason
        self._polling.set()

    def _ring(self) -> None:
        for reader in self._readers:
            reader.wake()

    def _all_at_rest(self) -> bool:
        states = {reader.state for reader in self._readers}
        return "resting" in states and "reading" not in states

    def _changes_found(self) -> bool:
        return any(reader.found_changes for reader in self._readers)

    async def _until(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition on the readers, for one polling interval at most; say whether it came about."""
        try:
            async with asyncio.timeout(self._poll_interval_seconds):
                while not condition():
                    self._readers_changed.clear()
                    await self._readers_changed.wait()
        except TimeoutError:
            return False
        return True


async def _until_readable(connection: AsyncConnection[TupleRow], within_seconds: float) -> bool:
    """Say whether the server says something in time.

    Psycopg would look ten times a second meanwhile, and so use most of what an idle daemon uses.
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


async def _execute(connection: AsyncConnection[TupleRow], name: str) -> AsyncCursor[TupleRow]:
    async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
        return await connection.execute(_queries[name])


async def _value(connection: AsyncConnection[TupleRow], name: str) -> Any:
    cursor = await _execute(connection, name)
    record = await cursor.fetchone()
    return record[0] if record else None
