"""What the daemon says to systemd, and SIGHUP."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.hang_points import POINT_VARIABLE
from tests.support.bridge import SECRET, Bridges
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.service_manager import HeardService, listening_service_manager


@pytest.fixture
async def systemd(tmp_path: Path) -> AsyncIterator[HeardService]:
    async with listening_service_manager(tmp_path) as heard:
        yield heard


@pytest.mark.slow
async def test_ready_alive_status_and_stopping_are_said(
    systemd: HeardService, database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    bridge = await bridges.start(NOTIFY_SOCKET=systemd.address)
    await systemd.wait_for("READY=1")
    await systemd.wait_for("STATUS=default is healthy")
    await systemd.wait_for("WATCHDOG=1", since=len(systemd.lines))
    receiver.script = lambda _: Response(status=503)
    database.execute("insert into customers (id) values ('C')")
    database.execute(
        "insert into reservations (id, cust_id, reference) values ('R', 'C', 1), ('S', 'C', 2), ('T', 'C', 3)"
    )
    await systemd.wait_for("STATUS=default is failing: HTTP 503")
    assert await bridge.terminate() == 0
    await systemd.wait_for("STOPPING=1")


@pytest.mark.slow
async def test_status_says_that_the_database_is_waited_for(
    systemd: HeardService, database: Database, bridges: Bridges
) -> None:
    await bridges.start(NOTIFY_SOCKET=systemd.address)
    await systemd.wait_for("STATUS=default is healthy")
    try:
        database.execute(
            "alter role cdc_bridge connection limit 0; select pg_terminate_backend(pid) from pg_stat_activity "
            "where usename = 'cdc_bridge'"
        )
        await systemd.wait_for("STATUS=Waiting for the database")
        await systemd.wait_for("WATCHDOG=1", since=len(systemd.lines))  # It moves: it tries again and again.
    finally:
        database.execute("alter role cdc_bridge connection limit -1")
    await systemd.wait_for("STATUS=default is healthy", since=len(systemd.lines))


async def test_watchdog_is_not_fed_by_a_daemon_whose_loop_stands_still(
    systemd: HeardService, database: Database, bridges: Bridges
) -> None:
    bridge = await bridges.start(
        "tests.faults.hang_points",
        NOTIFY_SOCKET=systemd.address,
        CDC_BRIDGE_STUCK_AFTER_SECONDS="5",
        **{POINT_VARIABLE: "the event loop"},
    )
    await systemd.wait_for("WATCHDOG=1")
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    # From here on the loop is blocked. That the watchdog within ends it takes five seconds, which nothing is fed in.
    await bridge.wait_for_log("change read", reservation_id="R")
    fed = len(systemd.lines)
    assert await bridge.wait() == 1
    assert len([line for line in systemd.lines[fed:] if line == "WATCHDOG=1"]) <= 1


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def write(config: Path, text: str) -> None:
    config.write_text(text)


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


async def test_hangup_takes_up_what_can_change_and_names_what_cannot(
    systemd: HeardService, database: Database, bridges: Bridges, receiver: Receiver, config: Path
) -> None:
    write(config, 'log_level = "info"\nmax_lag_seconds = 10\n')
    bridges.settings.pop("CDC_BRIDGE_LOG_LEVEL")
    bridges.settings.pop("CDC_BRIDGE_ENDPOINT_HEADER")
    bridge = await bridges.start(CDC_BRIDGE_CONFIG=str(config), NOTIFY_SOCKET=systemd.address)
    await bridge.until_assigned()
    before = bridge.assignments()
    database.execute("insert into customers (id) values ('C')")

    write(config, 'log_level = "debug"\nmax_lag_seconds = 20\nbatch_size = 7\nendpoint_header = "x-new: header"\n')
    heard = len(systemd.lines)
    bridge.send(signal.SIGHUP)
    reloaded = await bridge.wait_for_log("settings reloaded")
    assert set(reloaded["changed"]) == {"log_level", "max_lag_seconds", "endpoint_header"}
    left = await bridge.wait_for_log("settings need a restart")
    assert left["left"] == ["batch_size"]
    await systemd.wait_for("RELOADING=1", since=heard)
    await systemd.wait_for("MONOTONIC_USEC=", since=heard)
    await systemd.wait_for("READY=1", since=heard)
    await bridge.until_assigned(after=before)
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    (request,) = await receiver.wait_for_delivered(1)
    assert request.headers["x-new"] == "header"
    await bridge.wait_for_log("delivered", reservation_id="R")  # a line of level debug


async def test_wrong_settings_are_told_at_hangup_and_the_old_ones_stay(
    database: Database, bridges: Bridges, receiver: Receiver, config: Path
) -> None:
    write(config, "")
    bridge = await bridges.start(CDC_BRIDGE_CONFIG=str(config))
    await bridge.until_assigned()
    write(config, "bach_size = 7\nmax_lag_seconds = 'long'\n")
    bridge.send(signal.SIGHUP)
    told = await bridge.wait_for_log("settings not reloaded")
    assert "bach_size" in told["problem"]
    assert "batch_size" in told["problem"]
    assert "max_lag_seconds" in told["problem"]
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await receiver.wait_for_delivered(1)
    assert SECRET not in "".join(bridge.output)


async def test_endpoint_declared_later_is_called_after_a_hangup_also_one_that_came_while_the_database_was_away(
    database: Database, bridges: Bridges, receiver: Receiver, config: Path
) -> None:
    later = ""
    for name in [name for name in bridges.settings if name.startswith("CDC_BRIDGE_ENDPOINT_")]:
        more = f'{name.removeprefix("CDC_BRIDGE_").lower()} = "{bridges.settings[name]}"\n'
        later += more
        del bridges.settings[name]
    write(config, "")
    bridge = await bridges.start(CDC_BRIDGE_CONFIG=str(config), CDC_BRIDGE_LEASE_SECONDS="2")
    write(config, later)
    try:
        database.execute(
            "alter role cdc_bridge connection limit 0; select pg_terminate_backend(pid) from pg_stat_activity "
            "where usename = 'cdc_bridge'"
        )
        await bridge.wait_for_log("notifications not received, polling instead")
        bridge.send(signal.SIGHUP)
        await bridge.wait_for_log("settings reloaded")
    finally:
        database.execute("alter role cdc_bridge connection limit -1")
    await bridge.until_assigned()
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await receiver.wait_for_delivered(1)


@pytest.fixture
def own_ca_file(bridges: Bridges, tmp_path: Path) -> Path:
    """A copy of the endpoint's CA file, which is the bridge's from now on."""
    copy = tmp_path / "ca.pem"
    copy.write_bytes(Path(bridges.settings["CDC_BRIDGE_ENDPOINT_CA_FILE"]).read_bytes())
    bridges.settings["CDC_BRIDGE_ENDPOINT_CA_FILE"] = str(copy)
    return copy


async def test_second_hangup_is_heard_while_the_database_is_away(
    database: Database, bridges: Bridges, config: Path
) -> None:
    write(config, "max_lag_seconds = 10\n")
    bridge = await bridges.start(CDC_BRIDGE_CONFIG=str(config))
    await bridge.until_assigned()
    try:
        database.execute(
            "alter role cdc_bridge connection limit 0; select pg_terminate_backend(pid) from pg_stat_activity "
            "where usename = 'cdc_bridge'"
        )
        await bridge.wait_for_log("database lost")
        for seconds in (20, 30):  # The first one waits to make the endpoint of the settings known.
            write(config, f"max_lag_seconds = {seconds}\n")
            before = len(bridge.log)
            bridge.send(signal.SIGHUP)
            assert (await bridge.wait_for_log("settings reloaded", since=before))["changed"] == ["max_lag_seconds"]
    finally:
        database.execute("alter role cdc_bridge connection limit -1")
    await bridge.wait_for_log("database back")


async def test_hangup_leaves_an_endpoint_alone_whose_certificates_are_the_same(
    database: Database, bridges: Bridges, receiver: Receiver, own_ca_file: Path
) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    before = bridge.assignments()
    bridge.send(signal.SIGHUP)
    await bridge.wait_for_log("settings reloaded")
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await receiver.wait_for_delivered(1)
    assert bridge.assignments() == before

    append(own_ca_file, "\n")
    bridge.send(signal.SIGHUP)
    await bridge.until_assigned(after=before)


async def test_status_line_has_the_status_of_an_endpoint_that_rejects_everything(
    systemd: HeardService, database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    receiver.script = lambda _: Response(status=422)
    await bridges.start(NOTIFY_SOCKET=systemd.address)
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await systemd.wait_for("STATUS=default is failing: HTTP 422")
