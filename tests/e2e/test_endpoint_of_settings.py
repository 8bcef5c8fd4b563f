"""The endpoint that a daemon's settings declare: the commands show and pause it, and leave the rest to the settings."""

from __future__ import annotations

from tests.support.bridge import HEADER, SECRET, Bridges
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.receiver import Receiver
from tests.support.waiting import until

BOOKING = (
    "insert into customers (id) values ('C'); insert into reservations (id, cust_id, reference) values ('R', 'C', 1)"
)


async def test_it_is_shown_without_what_stands_in_the_settings(bridges: Bridges, endpoint: EndpointCommands) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    shown = await endpoint.json("show", "default")
    assert (shown["in_settings"], shown["status"]) == (True, "healthy")
    assert (shown["header_names"], shown["signed"]) == (None, None)
    assert "declared in a daemon's settings" in await endpoint.run("show", "default")
    assert HEADER.partition(": ")[2] not in endpoint.printed
    assert SECRET not in endpoint.printed


async def test_it_is_changed_in_the_settings_only(
    bridges: Bridges, database: Database, endpoint: EndpointCommands
) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    told = await endpoint.refused("set", "default", "--url", "https://x.example", "--header", "x-a: b")
    assert "Set CDC_BRIDGE_ENDPOINT_URL, CDC_BRIDGE_ENDPOINT_HEADER where that daemon runs" in told
    told = await endpoint.refused("set", "default", "--max-in-flight", "3")
    assert "endpoint_max_in_flight in /etc/cdc-bridge/config.toml, and then systemctl reload cdc-bridge" in told
    told = await endpoint.refused("rotate-secret", "default")
    assert "CDC_BRIDGE_ENDPOINT_SECRET" in told
    assert "in files in /etc/cdc-bridge/credentials, and then systemctl restart cdc-bridge" in told
    for yes in ((), ("--yes",)):
        told = await endpoint.refused("remove", "default", *yes)
        assert f":{bridge.pid}" in told
        assert "CDC_BRIDGE_ENDPOINT_URL" in told
    assert database.value("select count(*) from cdc_bridge.endpoint") == 1


async def test_it_can_be_removed_once_no_daemon_has_it(
    bridges: Bridges, database: Database, endpoint: EndpointCommands
) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    await bridge.kill()  # Its lease has not ended; its session has.
    gone = (
        "select not exists (select from pg_stat_activity where datname = current_database() and usename = 'cdc_bridge')"
    )
    await until(lambda: bool(database.value(gone)), "the killed daemon's sessions have ended")
    (listed,) = await endpoint.json("list")
    assert (listed["status"], listed["daemon"]) == ("unassigned", None)
    await endpoint.run("remove", "default", "--yes")
    assert database.value("select count(*) from cdc_bridge.endpoint") == 0


async def test_it_can_be_paused_and_resumed(
    bridges: Bridges, database: Database, receiver: Receiver, endpoint: EndpointCommands
) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    await endpoint.run("pause", "default")
    await bridge.wait_for_log("endpoint paused")
    database.execute(BOOKING)
    assert (await endpoint.json("show", "default"))["status"] == "paused"
    assert receiver.requests == []
    await endpoint.run("resume", "default")
    await receiver.wait_for_delivered(1)
