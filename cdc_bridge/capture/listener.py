"""Wakes the readers of the change log when something was committed.

The protocol between a sleeping daemon and writers is that of :mod:`~cdc_bridge.capture.wake_up`. For some milliseconds
after a wake-up the lock is not taken again: the requests go out first.

If notifications do not arrive (pgbouncer in transaction mode, a half-open connection) or must not be sent (``PREPARE
TRANSACTION`` fails after a NOTIFY; setting ``wake = "poll"``), the readers are woken at intervals instead. Whether they
arrive is tested: at the start and now and then the listener sends one itself and waits for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog

from cdc_bridge.capture import wake_up
from cdc_bridge.capture.reader import Reader
from cdc_bridge.database import DATABASE_ERRORS, RECONNECT, Database, is_connection_lost, problem_of
from cdc_bridge.errors import StatementFailed
from cdc_bridge.metrics import WAKE_UPS
from cdc_bridge.tasks import run_together

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

SAFETY_READ_SECONDS = 20.0
"""Interval of reads while idle, should a notification be lost."""

_TEST_INTERVAL_SECONDS = 60.0
_TEST_TIMEOUT_SECONDS = 5.0
_AWAKE_SECONDS = 0.003
_NOT_RECEIVED = "a notification of our own did not arrive"
_LISTEN_ELSEWHERE = "connect to PostgreSQL directly or through a pooler in session mode, or set wake = poll"
_NOTHING_TO_DO = "none, it connects again by itself"
_LOST_ATTEMPTS = 3
"""So many attempts to connect fail while the rest of the database works, before it is more than a lost connection."""

_log = structlog.get_logger(__name__)


class Listener:
    """Wakes readers by notification, or by polling."""

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
            database: The listener opens a connection of its own to it.
            use_notify: Whether to listen; if not, it only polls, and no writer ever notifies.
            poll_interval_seconds: Time between wake-ups while polling, or while a silent writer may yet commit.
            safety_read_seconds: Interval of reads while idle, in case a notification is lost.
            test_interval_seconds: Time between tests that notifications arrive, and between attempts to listen again.
        """
        self._database = database
        self._use_notify = use_notify
        self._poll_interval_seconds = poll_interval_seconds
        self._safety_read_seconds = safety_read_seconds
        self._test_interval_seconds = test_interval_seconds
        self._readers: list[Reader] = []
        self._readers_changed = asyncio.Event()
        self._polling = asyncio.Event()
        self._polling.set()
        self._next_test_at = 0.0
        self._reason_for_polling = ""
        self._reconnecting = False
        self._queue_fills_up = False
        self.announced = asyncio.Event()
        """Set when an endpoint was changed or a delivery made due; while polling, at every wake-up."""

    @property
    def listening(self) -> bool:
        """Whether notifications arrive; if not, it polls."""
        return not self._polling.is_set()

    @property
    def fallen_back(self) -> str | None:
        """Why it polls although it is meant to listen; ``None``: it does not poll."""
        return self._reason_for_polling or None

    @property
    def reconnecting(self) -> bool:
        """Whether it polls only because its connection was lost, which solves itself."""
        return bool(self._reason_for_polling) and self._reconnecting

    def reader(self) -> Reader:
        """Return a new reader, which begins by reading."""
        reader = Reader(self._readers_changed)
        self._readers.append(reader)
        return reader

    def dismiss(self, reader: Reader) -> None:
        """Stop waking a reader."""
        self._readers.remove(reader)
        self._readers_changed.set()

    async def run(self) -> None:
        """Wake the readers whenever something may have been committed, until cancelled."""
        if self._use_notify:
            await run_together(self._poll(), self._listen())
        else:
            _log.info("polling", reason="setting wake", interval_seconds=self._poll_interval_seconds)
            await self._poll()

    async def _poll(self) -> None:
        while True:
            await self._polling.wait()
            WAKE_UPS.labels("polling").inc()
            self._wake_readers()
            self.announced.set()
            await asyncio.sleep(self._poll_interval_seconds)

    async def _listen(self) -> None:
        failures = failed_alone = 0
        while True:
            try:
                async with await self._database.connect() as connection:
                    failures = failed_alone = 0
                    await self._listen_on(connection)
                reason, pause, reconnecting = _NOT_RECEIVED, self._test_interval_seconds, False
            except (StatementFailed, *DATABASE_ERRORS) as error:  # NOTIFY fails while PostgreSQL's queue is full.
                failures += 1
                failed_alone = 0 if self._database.lost else failed_alone + 1
                reconnecting = is_connection_lost(error) and failed_alone < _LOST_ATTEMPTS
                reason, pause = problem_of(error), RECONNECT.pause_seconds(failures, random.random())
            self._fall_back_to_polling(reason, reconnecting=reconnecting)
            await asyncio.sleep(pause)

    async def _listen_on(self, connection: AsyncConnection[TupleRow]) -> None:
        """Sleep and wake in turn; return when notifications do not arrive on this connection."""
        inbox = await wake_up.listen(connection)
        self._next_test_at = 0.0
        while True:
            if self._seconds_until_test() <= 0 and not await self._test(inbox):
                return
            self._use_notifications()
            if not await self._until(self._all_idle):
                self._wake_readers()  # One reader is busy for long: the others must not wait for it.
                await self._receive(inbox, 0)
            elif (horizon := await wake_up.take_lock(inbox)) is not None:
                woken = await self._sleep(inbox, horizon)
                if woken:
                    self._wake_readers()
                    await asyncio.sleep(0)  # The readers start first.
                await wake_up.release_lock(inbox)
                if woken:
                    # Requests go out first, and writers who commit one after another notify only once.
                    await asyncio.sleep(_AWAKE_SECONDS)
            else:
                await self._note_queue()
                await asyncio.sleep(self._poll_interval_seconds)
                self._wake_readers()

    async def _sleep(self, inbox: wake_up.Inbox, horizon: int) -> bool:
        """With the lock taken, return when there may be changes, or (``False``) when the next test is due."""
        silent_writers = True
        while True:
            if silent_writers:
                # Asked before the read, so that the read sees whatever has ended by now.
                silent_writers = await wake_up.has_silent_writers(inbox, horizon)
            self._wake_readers()
            if not await self._until(lambda: self._all_idle() or self._changes_found()) or self._changes_found():
                return True
            pause = self._poll_interval_seconds if silent_writers else self._safety_read_seconds
            if await self._receive(inbox, min(pause, self._seconds_until_test())):
                WAKE_UPS.labels("notification").inc()
                return True
            WAKE_UPS.labels("open transaction" if silent_writers else "safety read").inc()
            if await self._note_queue():
                return True
            if self._seconds_until_test() <= 0:
                return False

    async def _note_queue(self) -> bool:
        """Return whether PostgreSQL's queue of notifications fills up, and log it once."""
        # On another connection: a flood of notifications would come in front of the response, and be kept in memory.
        usage = await self._database.patiently(wake_up.queue_fills_up)
        if usage is not None and not self._queue_fills_up:
            _log.warning("notification queue fills up", usage=round(usage, 2), remedy=wake_up.QUEUE_REMEDY)
        self._queue_fills_up = usage is not None
        return self._queue_fills_up

    async def _test(self, inbox: wake_up.Inbox) -> bool:
        """Return whether a notification of our own, sent on another connection, arrives on this one."""
        arrives = await wake_up.notifications_arrive(
            lambda token: self._database.patiently(partial(wake_up.notify, token=token)),
            lambda: self._receive(inbox, _TEST_TIMEOUT_SECONDS),
            _TEST_TIMEOUT_SECONDS,
        )
        if arrives:
            self._next_test_at = asyncio.get_running_loop().time() + self._test_interval_seconds
        return arrives

    async def _receive(self, inbox: wake_up.Inbox, within_seconds: float) -> set[str]:
        """Wait for notifications and return their tokens, which are empty for a writer's."""
        notifications = inbox.take()
        if not notifications and within_seconds > 0 and await wake_up.until_readable(inbox.connection, within_seconds):
            self._wake_readers()  # Before it is parsed: nearly always it says that something was committed.
            notifications = inbox.take()
        if any(notification.channel == wake_up.ENDPOINTS for notification in notifications):
            self.announced.set()
        return {notification.token for notification in notifications}

    def _seconds_until_test(self) -> float:
        return max(0.0, self._next_test_at - asyncio.get_running_loop().time())

    def _use_notifications(self) -> None:
        if self._polling.is_set():
            self._polling.clear()
            self._reason_for_polling = ""
            _log.info("listening", channel=wake_up.CHANGES)
            self._wake_readers()

    def _fall_back_to_polling(self, reason: str, *, reconnecting: bool) -> None:
        if (reason, reconnecting) != (self._reason_for_polling, self._reconnecting):
            _log.warning(
                "notifications not received, polling instead",
                reason=reason,
                interval_seconds=self._poll_interval_seconds,
                remedy=_NOTHING_TO_DO if reconnecting else _LISTEN_ELSEWHERE,
            )
        self._reason_for_polling, self._reconnecting = reason, reconnecting
        self._polling.set()

    def _wake_readers(self) -> None:
        for reader in self._readers:
            reader.wake()

    def _all_idle(self) -> bool:
        states = {reader.state for reader in self._readers}
        return "idle" in states and "reading" not in states

    def _changes_found(self) -> bool:
        return any(reader.found_changes for reader in self._readers)

    async def _until(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition on the readers, for one polling interval at most; return whether it holds."""
        try:
            async with asyncio.timeout(self._poll_interval_seconds):
                while not condition():
                    self._readers_changed.clear()
                    await self._readers_changed.wait()
        except TimeoutError:
            return False
        return True
