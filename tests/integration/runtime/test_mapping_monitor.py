"""The mapping is looked at again when something was written that it may depend on, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.database import Database as DaemonDatabase
from cdc_bridge.runtime import mapping_monitor
from cdc_bridge.runtime.mapping_monitor import MappingMonitor
from tests.support.databases import Database
from tests.support.payloads import define_payload
from tests.support.waiting import PATIENCE_SECONDS


class CountingMonitor(MappingMonitor):
    looks = 0

    async def _look_at_everything(self) -> Sequence[Check]:
        self.looks += 1
        return await super()._look_at_everything()

    async def until_looked(self) -> None:
        before = self.looks
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.looks == before:
                await self.look()
                await asyncio.sleep(0.05)


@asynccontextmanager
async def opened_on(database: Database) -> AsyncIterator[CountingMonitor]:
    opened = DaemonDatabase(database.bridge_url)
    await opened.open()
    try:
        yield CountingMonitor(opened)
    finally:
        await opened.close()


@pytest.fixture
async def monitor(database: Database) -> AsyncIterator[CountingMonitor]:
    async with opened_on(database) as monitor:
        await monitor.look()
        yield monitor


async def test_nothing_is_looked_at_while_nobody_has_written(monitor: CountingMonitor, database: Database) -> None:
    before = monitor.looks
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    database.execute("analyze reservations")
    for _ in range(5):
        checks = await monitor.look()
    assert monitor.looks == before
    assert [check.verdict for check in checks] == [Verdict.OK, Verdict.OK]


@pytest.mark.parametrize(
    "statement",
    [
        "alter table reservations add column more text",
        "alter table reservations disable trigger cdc_bridge_insert",
        "revoke select on reservations from cdc_bridge_loader",
        "create policy nobody on reservations using (false)",
        "create or replace function public.of_theirs() returns int language sql return 1",
        "select cdc_bridge.disable_capture()",
        "update cdc_bridge.captured_table set key = 'another'",
    ],
)
async def test_what_the_mapping_may_depend_on_is_looked_at(
    monitor: CountingMonitor, database: Database, statement: str
) -> None:
    database.execute(statement)
    await monitor.until_looked()


async def test_payload_that_is_defined_anew_is_looked_at(monitor: CountingMonitor, database: Database) -> None:
    define_payload(database, "select r.id as id from {reservation} r", "short")
    await monitor.until_looked()


async def test_what_is_wrong_is_looked_at_until_it_is_mended(monitor: CountingMonitor, database: Database) -> None:
    database.execute("select cdc_bridge.disable_capture()")
    await monitor.until_looked()
    before = monitor.looks
    _, capture = await monitor.look()
    assert capture.verdict is Verdict.FAILED
    assert monitor.looks == before + 1
    database.execute("select cdc_bridge.enable_capture()")
    _, capture = await monitor.look()
    assert capture.verdict is Verdict.OK


async def test_everything_is_looked_at_now_and_then(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping_monitor, "_LOOK_AT_EVERYTHING_EVERY_SECONDS", 0.0)
    async with opened_on(database) as monitor:
        for _ in range(3):
            await monitor.look()
        assert monitor.looks == 3


async def test_everything_is_looked_at_each_time_where_nothing_is_counted(database: Database) -> None:
    database.execute(f"alter role cdc_bridge in database {database.name} set track_counts = off")
    async with opened_on(database) as monitor:
        for _ in range(3):
            await monitor.look()
        assert monitor.looks == 3
