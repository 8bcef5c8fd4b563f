"""``status``: everything at a glance, also without a daemon, and again and again."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from datetime import datetime

import psycopg
import pytest

from tests.support.bridge import Bridges, clean_environment, run_command
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import PATIENCE_SECONDS, until


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


async def test_status_shows_what_a_daemon_does(database: Database, bridges: Bridges, receiver: Receiver) -> None:
    receiver.script = lambda request: Response(status=422 if request.reservation_id == "R" else 200)
    await bridges.start(CDC_BRIDGE_LEASE_SECONDS="1")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1), ('S', 'C', 2)")
    await receiver.wait_for_delivered(1)
    known = "select last_success_at is not null and last_failure_at is not null from cdc_bridge.endpoint"
    await until(lambda: database.value(known), "the daemon has told how its calls went")
    code, output, errors = await run_command("status", "--json", **bridges.settings)
    assert (code, errors) == (0, "")
    status = json.loads(output)
    assert status["capture"]["verdict"] == "ok"
    (endpoint,) = status["endpoints"]
    assert (endpoint["name"], endpoint["status"], endpoint["notifications_received"]) == ("default", "degraded", True)
    assert (endpoint["backlog"], endpoint["pending"], endpoint["dead"], endpoint["in_flight"]) == (1, 1, 0, 0)
    assert endpoint["last_failure"] == "HTTP 422 Unprocessable Entity"
    assert endpoint["deliveries_per_second"] == pytest.approx(1 / 60, rel=0.01)
    assert 0 < endpoint["lag_seconds"] < 60
    code, output, _ = await run_command("status", **bridges.settings)
    assert code == 0
    for words in ("✓ capture", "✓ wake-up  notifications arrive", "degraded", "HTTP 422 Unprocessable Entity", "ago"):
        assert words in output


async def test_first_delivery_of_an_endpoint_is_shown_at_once(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    await (await bridges.start(CDC_BRIDGE_LEASE_SECONDS="300")).until_assigned()
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await receiver.wait_for_delivered(1)
    shown = "select last_success_at is not null from cdc_bridge.endpoint_status"
    await until(lambda: database.value(shown), "the last success is shown")


async def test_status_without_a_daemon_says_so_and_shows_the_backlog(database: Database, bridges: Bridges) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    terminated_at = database.value("select now()")
    await bridge.terminate()
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    _, output, _ = await run_command("status", **bridges.settings)
    assert "unassigned" in output
    _, output, _ = await run_command("status", "--json", **bridges.settings)
    (endpoint,) = json.loads(output)["endpoints"]
    assert (endpoint["status"], endpoint["backlog"], endpoint["daemon"]) == ("unassigned", 1, None)
    assert datetime.fromisoformat(endpoint["since"]) > terminated_at


async def test_status_says_that_capture_is_off_and_that_the_endpoint_is_invalid(
    database: Database, bridges: Bridges
) -> None:
    await (await bridges.start()).terminate()
    database.execute("select cdc_bridge.disable_capture()")
    _, output, _ = await run_command("status", **bridges.settings | {"COLUMNS": "300"})
    assert "✗ capture  capture was switched off" in output
    assert "select cdc_bridge.enable_capture();" in output
    assert "invalid: capture is not attached to table public.reservations, or is switched off" in " ".join(
        output.split()
    )


async def test_status_can_be_seen_by_whoever_watches(database: Database, bridges: Bridges) -> None:
    await bridges.start()
    role = f"watch_{database.name}"
    database.execute(f"create role {role} login password 'of-a-watchman'; grant cdc_bridge_reader to {role}")
    try:
        url = database.server.url_for(database.name, user=role, password="of-a-watchman")
        code, output, errors = await run_command("status", CDC_BRIDGE_DATABASE_URL=url)
        assert (code, errors) == (0, "")
        assert "✓ capture" in output
        assert "default" in output
    finally:
        database.execute(f"drop role {role}")


async def test_status_names_the_transaction_that_holds_back(database: Database, bridges: Bridges) -> None:
    await bridges.start()
    async with database.connection(autocommit=False) as writer:
        await writer.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
        settings = bridges.settings | {"CDC_BRIDGE_DATABASE_URL": database.url}
        _, output, _ = await run_command("status", "--json", **settings)
        oldest = json.loads(output)["oldest_writer"]
        assert oldest["pid"] == writer.info.backend_pid
        assert oldest["since"] is not None


async def test_whoever_may_not_see_since_when_a_transaction_is_open_is_not_alarmed(
    database: Database, bridges: Bridges
) -> None:
    async with database.connection(autocommit=False) as writer:
        await writer.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
        _, output, _ = await run_command("status", **bridges.settings)
        (line,) = [line for line in output.splitlines() if "held back" in line]
        assert line.startswith("- held back by the transaction of process ")
        assert "what it wrote comes when it commits, and repairs wait for it" in line
        assert "pg_read_all_stats" in line


async def test_transaction_of_another_database_is_told_to_hold_back_repairs_alone(
    database: Database, bridges: Bridges
) -> None:
    server = database.server
    async with await psycopg.AsyncConnection.connect(server.url) as writer:
        await writer.execute("select pg_current_xact_id()")
        _, output, _ = await run_command("status", **bridges.settings)
        (line,) = [line for line in output.splitlines() if "held back" in line]
        assert ": repairs wait for it (since when" in line
        await writer.rollback()


async def test_status_is_shown_again_and_again_until_interrupted(bridges: Bridges) -> None:
    await bridges.start()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cdc_bridge", "status", "--watch", "--every", "0.2", "--json",
        env=clean_environment(bridges.settings) | {"PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        lines = [json.loads(await process.stdout.readline()) for _ in range(3)]
        assert sorted({line["at"] for line in lines}) == [line["at"] for line in lines]
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (130, "")


@pytest.mark.parametrize("form", ["", "--json"])
async def test_status_ends_quietly_when_nobody_reads_it_any_more(bridges: Bridges, form: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f'"$PYTHON" -m cdc_bridge status --watch --every 0.2 {form} | head -n 1',
        env=clean_environment(bridges.settings) | {"PYTHON": sys.executable},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE_SECONDS):
        output, errors = await process.communicate()
    assert (len(output.splitlines()), errors.decode()) == (1, "")


async def test_status_where_nothing_is_installed_says_what_to_run(example_database: Database) -> None:
    code, _, errors = await run_command("status", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert code == 1
    assert "cdc-bridge install" in errors
