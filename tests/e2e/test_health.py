"""/healthz and /readyz: a problem for each fault that can be brought about here, and ready again after it."""

from __future__ import annotations

import asyncio
import json
import signal
import time

import pytest

from cdc_bridge.demo.ports import free_port
from tests.support.bridge import Bridge, Bridges, run_command
from tests.support.databases import Database
from tests.support.http import figures, get, until_told
from tests.support.proxy import Proxy
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import PATIENCE_SECONDS, until

AWAY_SECONDS = 20.0
"""Longer than any pause between two attempts to connect, and the next look at the health, take together."""
BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"

LISTENER = """
select pid from pg_locks
where locktype = 'advisory' and classid = 52683 and objid = 1 and mode = 'ExclusiveLock' and granted
  and database = (select oid from pg_database where datname = current_database())
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def bridge(database: Database, bridges: Bridges, port: int) -> Bridge:
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start(CDC_BRIDGE_WEB_PORT=str(port), CDC_BRIDGE_MAX_LAG_SECONDS="1")
    await bridge.until_assigned()
    await bridge.wait_for_log("listening")
    return bridge


async def until_ready(port: int) -> None:
    await until_told(port, 200, "ready")


async def test_all_is_well_then_capture_is_switched_off_and_on_again(
    bridge: Bridge, database: Database, port: int
) -> None:
    await until_ready(port)
    assert await get(port, "/healthz") == (200, "alive\n")
    database.execute("select cdc_bridge.disable_capture()")
    await until_told(port, 503, "capture: capture was switched off", "select cdc_bridge.enable_capture()")
    assert (await figures(port))["cdc_bridge_problem", "capture"] == 1
    assert await get(port, "/healthz") == (200, "alive\n")
    database.execute("select cdc_bridge.enable_capture()")
    await until_ready(port)


async def test_capture_is_told_with_what_it_does_to_endpoints_though_the_change_is_not_counted_yet(
    bridge: Bridge, database: Database, port: int
) -> None:
    await until_ready(port)
    async with database.connection() as connection:
        # A session reports what it wrote once a second, or when it has been idle for ten.
        await connection.execute("create table of_a_dba ()")
        await connection.execute("select cdc_bridge.disable_capture()")
        text = await until_told(port, 503, "default is invalid")
        assert "capture: capture was switched off" in text


async def test_capture_that_is_detached_is_told(bridge: Bridge, database: Database, port: int) -> None:
    database.execute("select cdc_bridge.detach('reservations')")
    await until_told(port, 503, "capture is not attached to any table")
    database.execute("select cdc_bridge.attach('reservations', 'id')")
    await until_ready(port)


async def test_wrong_schema_is_told(bridge: Bridge, database: Database, port: int) -> None:
    database.execute("insert into cdc_bridge.schema_version (version) values (99)")
    await until_told(port, 503, "installation: schema version 99 is newer")


async def test_lag_is_told_with_its_cause_and_a_paused_endpoint_is_none(
    bridge: Bridge, database: Database, port: int, receiver: Receiver
) -> None:
    receiver.script = lambda _: Response(status=422)
    database.execute(BOOKING, ("R",))
    await until_told(
        port,
        503,
        "endpoint: default is failing: HTTP 422",
        "lag: default is ",
        "failing, backlog 1, oldest delivery of reservation R after 1 attempt: HTTP 422",
        "delivery show ",
    )
    database.execute("update cdc_bridge.endpoint set paused_at = now()")
    await until_ready(port)


async def test_replay_of_what_is_old_is_no_lag_at_once(
    bridge: Bridge, database: Database, port: int, receiver: Receiver
) -> None:
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_delivered(1)
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery"), "it is recorded")
    receiver.script = lambda _: Response(after_seconds=60)
    database.execute(
        "update cdc_bridge.delivery set state = 'queued', failures = 0, next_attempt_at = now(), recorded_at = now(), "
        "changed_at = now() - interval '1 day'; notify cdc_bridge_endpoint"
    )
    assert database.value("select lag < interval '1 minute' from cdc_bridge.endpoint_status")
    await until_told(port, 503, "lag: default is ", " s behind", "queued by hand")


async def test_disabled_endpoint_is_told_until_it_is_resumed(
    bridge: Bridge, database: Database, port: int, receiver: Receiver
) -> None:
    receiver.script = lambda _: Response(status=410)
    database.execute(BOOKING, ("R",))
    await until_told(
        port, 503, "endpoint: default is disabled: it responded with 410", "cdc-bridge endpoint resume default"
    )
    found = await figures(port)
    assert found["cdc_bridge_problem", "endpoint"] == found["cdc_bridge_endpoint_status", "default", "disabled"] == 1
    receiver.script = lambda _: Response(status=200)
    database.execute("update cdc_bridge.endpoint set disabled_at = null; notify cdc_bridge_endpoint")
    await until_ready(port)


async def test_restored_dump_is_told_though_its_backlog_is_not_known(
    bridges: Bridges, database: Database, port: int
) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    await bridge.terminate()
    database.execute("update cdc_bridge.endpoint set cluster = 1, position = '99999999:99999999:'")
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(port))
    await until_told(
        port, 503, "endpoint: default is invalid: this database was restored from a dump", "cdc_bridge.adopt()"
    )
    found = await figures(port)
    assert ("cdc_bridge_lag_seconds", "default") not in found
    assert ("cdc_bridge_backlog_changes", "default") not in found
    code, output, _ = await run_command("status", "--json", **bridges.settings)
    assert code == 0
    (endpoint,) = json.loads(output)["endpoints"]
    assert (endpoint["lag_seconds"], endpoint["backlog"]) == (None, None)


async def test_row_that_is_invalid_is_told_before_anything_lags(
    bridge: Bridge, bridges: Bridges, database: Database, port: int
) -> None:
    await until_ready(port)
    code, _, errors = await run_command("endpoint", "add", "till", "https://till.example/", **bridges.settings)
    assert code == 0, errors
    database.execute(
        "update cdc_bridge.endpoint set ca_file = '/nowhere/ca.pem' where name = 'till'; notify cdc_bridge_endpoint"
    )
    await until_told(port, 503, "endpoint: till is invalid: ", "/nowhere/ca.pem", "endpoint show till")
    database.execute("delete from cdc_bridge.endpoint where name = 'till'; notify cdc_bridge_endpoint")
    await until_ready(port)


async def test_daemon_without_any_endpoint_is_not_ready(bridges: Bridges, port: int) -> None:
    for name in [name for name in bridges.settings if name.startswith("CDC_BRIDGE_ENDPOINT_")]:
        del bridges.settings[name]
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(port))
    await until_told(port, 503, "endpoint: there is no endpoint, so nothing is delivered", "cdc-bridge endpoint add")


async def test_figures_of_a_daemon_that_was_killed_are_gone_with_its_lease(
    bridges: Bridges, database: Database, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    receiver.script = lambda _: Response(after_seconds=60)
    bridge = await bridges.start(CDC_BRIDGE_LEASE_SECONDS="1")
    database.execute(BOOKING, ("R",))
    figures_now = "select in_flight, listening, deliveries_per_second from cdc_bridge.endpoint_status"
    await until(lambda: database.execute(figures_now) == [(1, True, 0.0)], "a call under way is shown")
    await bridge.kill()
    await until(lambda: database.execute(figures_now) == [(None, None, None)], "nobody shows it any more")


async def test_slow_database_is_told_apart_from_a_lost_one_and_the_last_figures_stay(
    bridge: Bridge, database: Database, port: int
) -> None:
    await until_ready(port)
    async with database.connection(autocommit=False) as other:
        # The health check reads it, and no delivery does.
        await other.execute("lock cdc_bridge.schema_version in access exclusive mode")
        await until_told(port, 503, "database: PostgreSQL is slow: the health check has taken ")
        found = await figures(port)
        assert found["cdc_bridge_database_up",] == 1
        assert found["cdc_bridge_lag_seconds", "default"] == 0
    await until_ready(port)


async def test_answers_come_while_the_network_swallows_everything(
    bridges: Bridges, database: Database, port: int, proxy: Proxy
) -> None:
    await bridges.start(
        CDC_BRIDGE_WEB_PORT=str(port),
        CDC_BRIDGE_DATABASE_URL=proxy.through(database.bridge_url),
        CDC_BRIDGE_LEASE_SECONDS="2",
    )
    await until_ready(port)
    proxy.stall()
    await until_told(port, 503, "database: PostgreSQL is slow")
    assert ("cdc_bridge_lag_seconds", "default") in await figures(port)
    await until_told(port, 503, "database: PostgreSQL does not respond")
    assert (await figures(port))["cdc_bridge_database_up",] == 0
    proxy.go_on()
    await until_ready(port)


async def test_lost_database_is_told_and_is_no_reason_to_be_started_again(
    bridge: Bridge, database: Database, port: int
) -> None:
    await until_ready(port)
    kick_out = (
        "alter role cdc_bridge connection limit 0; select pg_terminate_backend(pid) from pg_stat_activity "
        "where usename = 'cdc_bridge'"
    )
    try:
        database.execute(kick_out)
        await until_told(port, 503, "database: PostgreSQL does not respond")
        assert await get(port, "/healthz") == (200, "alive\n")
        assert (await figures(port))["cdc_bridge_database_up",] == 0
    finally:
        database.execute("alter role cdc_bridge connection limit -1")
    await until_ready(port)
    assert (await figures(port))["cdc_bridge_database_reconnects_total",] >= 1


async def test_picture_of_the_moment_when_a_database_is_back_is_not_kept(
    bridges: Bridges, database: Database, port: int, proxy: Proxy
) -> None:
    await bridges.start(
        CDC_BRIDGE_WEB_PORT=str(port),
        CDC_BRIDGE_DATABASE_URL=proxy.through(database.bridge_url),
        CDC_BRIDGE_LEASE_SECONDS="2",
        CDC_BRIDGE_MAX_LAG_SECONDS="1",
        CDC_BRIDGE_WAKE="poll",
    )
    await until_ready(port)
    await proxy.cut()
    await until_told(port, 503, "database: PostgreSQL does not respond -> cdc-bridge check")
    away_until = time.monotonic() + AWAY_SECONDS
    while time.monotonic() < away_until:
        await get(port, "/readyz")  # As a probe does: the read that ends with the outage began with it.
        await asyncio.sleep(0.2)
    await proxy.start()
    told = set()

    async def is_ready() -> bool:
        status, text = await get(port, "/readyz")
        told.add(text)
        return status == 200

    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await is_ready():
            await asyncio.sleep(0.2)
    # A picture that was kept would be of the moment of the return, when every lease had expired.
    assert not [text for text in told if "no live daemon has it" in text]
    database.execute("select cdc_bridge.disable_capture()")
    await until_told(port, 503, "capture was switched off")


async def test_lost_connection_of_the_listener_needs_no_remedy(
    bridges: Bridges, database: Database, port: int, proxy: Proxy
) -> None:
    bridge = await bridges.start(
        CDC_BRIDGE_WEB_PORT=str(port), CDC_BRIDGE_DATABASE_URL=proxy.through(database.bridge_url)
    )
    await until_ready(port)
    await bridge.wait_for_log("listening")
    await proxy.cut()
    line = await bridge.wait_for_log("notifications not received, polling instead")
    assert line["remedy"] == "none, it connects again by itself"
    await proxy.start()
    await until_ready(port)


async def test_lack_of_notifications_is_told(bridge: Bridge, database: Database, port: int) -> None:
    await until_ready(port)
    await until(lambda: database.execute(LISTENER), "the listener sleeps")
    try:
        # Its session ends, and no other one can be had.
        database.execute("alter role cdc_bridge connection limit 1")
        database.execute(f"select pg_terminate_backend(pid) from ({LISTENER}) as listener")
        await until_told(
            port,
            503,
            "wake-up: notifications do not arrive: polling instead: ",
            "too many connections",
            "CDC_BRIDGE_WAKE",
        )
        assert (await figures(port))["cdc_bridge_notifications_received",] == 0
    finally:
        database.execute("alter role cdc_bridge connection limit -1")
    await until_ready(port)


async def test_daemon_that_stands_still_answers_nothing_more(bridge: Bridge, port: int) -> None:
    await until_ready(port)
    bridge.send(signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await get(port, "/healthz")
    finally:
        bridge.send(signal.SIGCONT)
    await until_ready(port)
