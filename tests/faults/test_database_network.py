"""The network between daemon and PostgreSQL is cut, stalls or is slow: nothing is lost or sent twice."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.bridge import Bridge, Bridges
from tests.support.databases import Database
from tests.support.length import AT_LENGTH, chosen
from tests.support.load import Load
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE_SECONDS

STALL_SECONDS = chosen(3, 70)
"""At length, longer than the minute after which the daemon gives a statement up."""
COMMIT = b"COMMIT\0"


@pytest.fixture
async def bridge(bridges: Bridges, proxy: Proxy, database: Database) -> Bridge:
    """A daemon that reaches the database through the proxy."""
    return await bridges.start(CDC_BRIDGE_DATABASE_URL=proxy.through(database.bridge_url))


async def test_nothing_is_lost_when_the_network_is_cut_under_load(bridge: Bridge, proxy: Proxy, load: Load) -> None:
    async with load.running():
        for _ in range(chosen(3, 40)):
            await load.delivered(10)
            logged = len(bridge.log)
            await proxy.cut()
            await load.committed(5)
            await bridge.wait_for_log("database lost", since=logged)
            await proxy.start()
            await bridge.wait_for_log("database back", since=logged)
    found = await load.assert_promises_kept()
    assert found.duplicates == 0
    assert await bridge.terminate() == 0


@pytest.mark.timeout(chosen(180, 600))
@pytest.mark.parametrize("afterwards", ["what was held up arrives", "it is lost with its connections"])
async def test_nothing_is_lost_when_the_network_stalls_without_breaking_a_connection(
    afterwards: str, bridge: Bridge, proxy: Proxy, load: Load
) -> None:
    async with load.running():
        await load.delivered(20)
        proxy.stall()
        # The length of the stall is the fault itself; nothing is expected of the daemon meanwhile.
        await asyncio.sleep(STALL_SECONDS)
        if afterwards == "it is lost with its connections":
            proxy.break_connections()
        proxy.go_on()
        await load.delivered(20)
    found = await load.assert_promises_kept()
    assert found.duplicates == 0
    assert await bridge.terminate() == 0


@pytest.mark.timeout(600)
@pytest.mark.skipif(not AT_LENGTH, reason="the daemon takes a minute to find out; make test-faults waits for it")
async def test_connections_that_fell_silent_for_good_are_given_up(bridge: Bridge, proxy: Proxy, load: Load) -> None:
    async with load.running():
        await load.delivered(20)
        proxy.forget_connections()
        await load.delivered(20)
    found = await load.assert_promises_kept()
    assert found.duplicates == 0
    assert await bridge.terminate() == 0


@pytest.mark.slow
async def test_nothing_is_lost_over_a_slow_network(bridge: Bridge, proxy: Proxy, load: Load) -> None:
    async with load.running():
        proxy.delay_seconds = 0.05
        proxy.bytes_per_second = 200_000.0
        await load.delivered(chosen(60, 1000))
    found = await load.assert_promises_kept()
    assert found.duplicates == 0
    assert await bridge.terminate() == 0


async def test_settlements_are_recorded_once_when_the_answer_to_their_commit_is_lost(
    bridge: Bridge, proxy: Proxy, load: Load, database: Database
) -> None:
    async with load.running():
        for _ in range(chosen(3, 30)):
            await load.delivered(10)
            proxy.answer_kept_back.clear()
            proxy.keep_back_answer_to = COMMIT
            async with asyncio.timeout(PATIENCE_SECONDS):
                await proxy.answer_kept_back.wait()
            logged = len(bridge.log)
            await proxy.cut()
            await proxy.start()
            await bridge.wait_for_log("database back", since=logged)
    found = await load.assert_promises_kept()
    assert found.duplicates == 0
    assert database.value("select count(*) from cdc_bridge.delivery where attempts > 1") == 0
    assert await bridge.terminate() == 0
