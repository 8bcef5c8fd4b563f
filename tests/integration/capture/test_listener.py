"""The wake-up on a real PostgreSQL: immediate, free for writers while no daemon sleeps, and never lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from cdc_bridge.capture.listener import Listener
from cdc_bridge.capture.reader import Reader
from cdc_bridge.database import Database as BridgeDatabase
from tests.support.databases import Database
from tests.support.proxy import Proxy
from tests.support.waiting import until

NEVER_SECONDS = 3600.0
PATIENCE_SECONDS = 20.0

HOLDS_LOCK = (
    "select exists (select from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and classid = 52683)"
)
NEW_RESERVATION = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"


class CountingReader:
    """Reads the log as a pipeline does, and remembers what it has seen."""

    def __init__(self, database: BridgeDatabase, reader: Reader) -> None:
        self._database = database
        self._reader = reader
        self.seen: set[str] = set()
        self.reads = 0
        self.changed = asyncio.Condition()
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def run(self) -> None:
        while True:
            await self.may_read.wait()
            records = await self._database.patiently(self._read)
            async with self.changed:
                self.reads += 1
                if fresh := records - self.seen:
                    self._reader.found()
                    self.seen |= fresh
                self.changed.notify_all()
            await self._reader.until_woken()

    @staticmethod
    async def _read(connection: object) -> set[str]:
        cursor = await connection.execute("select reservation_id from cdc_bridge.change")  # type: ignore[attr-defined]
        return {id_ for (id_,) in await cursor.fetchall()}

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self.changed:
            await self.changed.wait_for(condition)


@asynccontextmanager
async def listening(
    url: str,
    *,
    use_notify: bool = True,
    poll_interval_seconds: float = NEVER_SECONDS,
    test_interval_seconds: float = NEVER_SECONDS,
) -> AsyncIterator[CountingReader]:
    database = BridgeDatabase(url)
    await database.open()
    listener = Listener(
        database,
        use_notify=use_notify,
        poll_interval_seconds=poll_interval_seconds,
        safety_read_seconds=NEVER_SECONDS,
        test_interval_seconds=test_interval_seconds,
    )
    reader = CountingReader(database, listener.reader())
    tasks = [asyncio.create_task(listener.run()), asyncio.create_task(reader.run())]
    try:
        yield reader
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


async def sleeping(database: Database, reader: CountingReader) -> None:
    """Wait until a reader is idle while the lock is held: from here on only a notification can wake it."""
    await until(lambda: bool(database.value(HOLDS_LOCK)), "the listener holds the lock")
    await reader.wait_for(lambda: reader.reads > 1)


@asynccontextmanager
async def counted_notifications(database: Database) -> AsyncIterator[Callable[[], int]]:
    """Count the NOTIFYs that are committed meanwhile."""
    notifications = 0

    async with database.connection() as connection:
        await connection.execute("listen cdc_bridge_change")

        async def count() -> None:
            nonlocal notifications
            async for notification in connection.notifies():
                if notification.payload == "the end":
                    return
                notifications += notification.payload == ""

        counting = asyncio.create_task(count())
        try:
            yield lambda: notifications
            database.execute("select pg_notify('cdc_bridge_change', 'the end')")
            async with asyncio.timeout(PATIENCE_SECONDS):
                await counting
        finally:
            counting.cancel()


async def write(database: Database, prefix: str, writers: int = 8, commits: int = 100) -> None:
    async def writer(number: int) -> None:
        async with database.connection() as connection:
            for index in range(commits):
                await connection.execute(NEW_RESERVATION, (f"{prefix}-{number}-{index}",))

    await asyncio.gather(*(writer(number) for number in range(writers)))


async def test_commit_wakes_a_sleeping_daemon_without_any_polling(database: Database) -> None:
    async with listening(database.bridge_url) as reader:
        await sleeping(database, reader)
        for number in range(20):
            database.execute(NEW_RESERVATION, (f"R{number}",))
            await reader.wait_for(lambda wanted=f"R{number}": wanted in reader.seen)  # type: ignore[misc]


async def test_writers_notify_while_a_daemon_sleeps(database: Database) -> None:
    async with listening(database.bridge_url) as reader:
        await sleeping(database, reader)
        async with counted_notifications(database) as notifications:
            database.execute(NEW_RESERVATION, ("R1",))
        assert notifications() == 1


async def test_writers_never_notify_while_no_daemon_is_there(database: Database) -> None:
    async with counted_notifications(database) as notifications:
        await write(database, "absent")
    assert notifications() == 0


async def test_writers_never_notify_while_the_daemon_is_busy(database: Database) -> None:
    bridge_database = BridgeDatabase(database.bridge_url)
    await bridge_database.open()
    listener = Listener(
        bridge_database, use_notify=True, poll_interval_seconds=0.05, safety_read_seconds=1, test_interval_seconds=1
    )
    listener.reader()  # begins by reading, and never comes to its end
    running = asyncio.create_task(listener.run())
    try:
        async with counted_notifications(database) as notifications:
            await write(database, "busy")
        assert notifications() == 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bridge_database.close()


async def test_statement_that_touches_no_row_neither_logs_nor_notifies(database: Database) -> None:
    async with listening(database.bridge_url) as reader:
        await sleeping(database, reader)
        async with counted_notifications(database) as notifications:
            database.execute("update reservations set notes = 'x' where id = 'nobody'")
        assert notifications() == 0
    assert database.value("select count(*) from cdc_bridge.change") == 0


async def test_transaction_that_tested_the_lock_just_before_the_sleep_is_seen_when_it_commits_long_after(
    database: Database,
) -> None:
    async with listening(database.bridge_url, poll_interval_seconds=0.05) as reader:
        await sleeping(database, reader)
        reader.may_read.clear()
        database.execute(NEW_RESERVATION, ("WAKES",))
        await until(lambda: not database.value(HOLDS_LOCK), "the daemon is awake and busy")
        async with database.connection(autocommit=False) as writer, counted_notifications(database) as notifications:
            # The only transaction that runs, and the newest: a snapshot's xmax is not above it.
            await writer.execute(NEW_RESERVATION, ("EARLY",))
            reader.may_read.set()
            await sleeping(database, reader)
            reads = reader.reads
            await reader.wait_for(lambda: reader.reads > reads + 3)  # it polls, as long as the writer may commit
            await writer.commit()
            await reader.wait_for(lambda: "EARLY" in reader.seen)
        assert notifications() == 0
        await sleeping(database, reader)
        database.execute(NEW_RESERVATION, ("LATER",))
        await reader.wait_for(lambda: "LATER" in reader.seen)


async def test_no_commit_goes_unnoticed_among_many_writers_and_many_sleeps(database: Database) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    committed: set[str] = set()

    async def writer(number: int) -> None:
        chance = random.Random(seed + number)
        async with database.connection(autocommit=False) as connection:
            for index in range(60):
                await connection.execute(NEW_RESERVATION, (id_ := f"{number}-{index}",))
                if chance.random() < 0.1:
                    await asyncio.sleep(chance.random() / 5)  # a transaction that stays open for a while
                await connection.commit()
                committed.add(id_)
                await asyncio.sleep(chance.random() / 20)  # time for the daemon to go to sleep

    async with listening(database.bridge_url, poll_interval_seconds=0.05) as reader:
        await asyncio.gather(*(writer(number) for number in range(8)))
        await reader.wait_for(lambda: reader.seen >= committed)
    assert len(committed) == 8 * 60


async def test_daemon_set_to_poll_never_takes_the_lock_so_prepare_transaction_works(database: Database) -> None:
    async with listening(database.bridge_url, use_notify=False, poll_interval_seconds=0.05) as reader:
        await reader.wait_for(lambda: reader.reads > 3)
        async with database.connection(autocommit=False) as writer:
            await writer.execute(NEW_RESERVATION, ("PREPARED",))
            await writer.execute("prepare transaction 'of a test'")
            await writer.rollback()
            await writer.set_autocommit(True)
            assert not database.value(HOLDS_LOCK)
            await writer.execute("commit prepared 'of a test'")
        await reader.wait_for(lambda: "PREPARED" in reader.seen)


async def test_lost_notifications_are_noticed_and_polling_takes_over_until_they_are_back(
    database: Database, proxy: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    url = proxy.through(database.bridge_url)
    async with listening(url, poll_interval_seconds=0.1, test_interval_seconds=0.5) as reader:
        await sleeping(database, reader)
        proxy.drop_notifications = True
        await until(lambda: "notifications not received, polling instead" in capsys.readouterr().out, "it says so")
        assert proxy.dropped > 0
        database.execute(NEW_RESERVATION, ("R1",))
        await reader.wait_for(lambda: "R1" in reader.seen)
        proxy.drop_notifications = False
        await until(lambda: bool(database.value(HOLDS_LOCK)), "it sleeps until notified again")
        database.execute(NEW_RESERVATION, ("R2",))
        await reader.wait_for(lambda: "R2" in reader.seen)


async def test_lost_connection_is_made_anew(database: Database, proxy: Proxy) -> None:
    async with listening(proxy.through(database.bridge_url), poll_interval_seconds=0.1) as reader:
        await sleeping(database, reader)
        await proxy.cut()
        database.execute(NEW_RESERVATION, ("R1",))
        await proxy.start()
        await reader.wait_for(lambda: "R1" in reader.seen)
        await until(lambda: bool(database.value(HOLDS_LOCK)), "it sleeps until notified again")


async def test_cancelled_statement_never_leaves_the_lock_behind(database: Database) -> None:
    async with database.connection() as writer:
        await writer.execute("set statement_timeout = '1ms'")
        for number in range(200):
            try:
                await writer.execute(NEW_RESERVATION, (f"R{number}",))
            except Exception as error:  # noqa: BLE001
                assert "statement timeout" in str(error)  # noqa: PT017
        await writer.execute("set statement_timeout = 0")
        held = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
        cursor = await writer.execute(held)
        assert await cursor.fetchone() == (0,)
