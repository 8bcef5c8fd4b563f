"""Through a pooler in session mode everything works; one that shares sessions is found out and refused."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from cdc_bridge.checks.sessions import MOST_SESSIONS
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.pooler import pooler
from tests.support.receiver import Receiver

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"


async def test_session_mode_works(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    with pooler(database, "session") as url:
        bridge = await bridges.start(CDC_BRIDGE_DATABASE_URL=url)
        database.execute("insert into customers (id) values ('C')")
        for number in range(30):
            await asyncio.to_thread(database.execute, BOOKING, (f"R{number}",))
        await receiver.wait_for_delivered(30)
        code, output, _ = await run_command("check", **bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url})
        assert "✓ sessions" in output
        assert "are kept by the pooler" in output
        assert code == 0
        assert await bridge.terminate() == 0


@pytest.mark.slow
@pytest.mark.parametrize("wake", ["notify", "poll"])
@pytest.mark.parametrize(
    ("mode", "size"), [("transaction", 20), ("transaction", 1), ("statement", 20), ("statement", 1)]
)
async def test_mode_that_shares_sessions_is_refused(
    mode: str, size: int, wake: str, database: Database, bridges: Bridges
) -> None:
    with pooler(database, mode, size) as url:
        settings = bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url, "CDC_BRIDGE_WAKE": wake}
        code, _, errors = await run_command("run", **settings)
        assert (code, "session mode" in errors) == (78, True), errors
        assert "Traceback" not in errors
        code, output, _ = await run_command("check", **settings)
        assert code == 1
        assert "✗ sessions" in output
        assert "session mode" in output
    assert database.value("select count(*) from cdc_bridge.delivery") == 0


@pytest.mark.slow
async def test_pooler_that_is_full_is_no_reason_to_stay_down(database: Database, bridges: Bridges) -> None:
    with pooler(database, "session", size=1) as url, psycopg.connect(url):
        settings = bridges.settings | {"CDC_BRIDGE_DATABASE_URL": f"{url} connect_timeout=2"}
        code, _, errors = await run_command("run", **settings)
        assert code == 1, errors
        assert "Traceback" not in errors
    with pooler(database, "session", size=1) as url:
        code, _, errors = await run_command("run", **bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url})
        assert (code, "has no session left" in errors, f"uses up to {MOST_SESSIONS}" in errors) == (1, True, True), (
            errors
        )


async def test_too_low_a_connection_limit_is_told_with_the_number_that_is_needed(
    database: Database, bridges: Bridges
) -> None:
    database.execute(f"alter database {database.name} connection limit 2")
    code, _, errors = await run_command("run", **bridges.settings)
    assert (code, "the daemon needs 5" in errors) == (1, True)
    code, output, _ = await run_command("check", **bridges.settings)
    assert (code, "✗ connections" in output, "the daemon needs 5" in output) == (1, True, True)


async def test_daemon_works_with_as_few_connections_as_it_says(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute(f"alter database {database.name} connection limit 5")
    bridge = await bridges.start(CDC_BRIDGE_LOG_LEVEL="info")
    database.execute("insert into customers (id) values ('C')")
    for number in range(100):
        database.execute(BOOKING, (f"R{number}",))
    await receiver.wait_for_delivered(100)
    assert await bridge.terminate() == 0
