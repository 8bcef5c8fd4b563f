"""The daemon runs out of what it needs itself: no endpoint is charged, and all is delivered."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from cdc_bridge.demo.ports import free_port
from tests.faults.few_descriptors import HOG_VARIABLE, LIMIT_VARIABLE, TAKEN
from tests.support.bridge import Bridge, Bridges
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint
from tests.support.figures import Figures
from tests.support.http import figures as metrics_of
from tests.support.http import get, until_told
from tests.support.length import chosen
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

ENDPOINTS = 24
BOOK = "insert into reservations (id, cust_id, reference) select %s || n, 'C', n from generate_series(1, %s::int) n"
CHARGED = "select count(*) from cdc_bridge.delivery where failures > 0"
PROBLEMS = "select count(*) from cdc_bridge.endpoint where problem like 'this process ran out of file descriptors%%'"


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


def assert_no_endpoint_failed(bridge: Bridge) -> None:
    assert [line for line in bridge.log if line["event"] in {"endpoint failing", "delivery failed"}] == []


@pytest.mark.slow
@pytest.mark.parametrize("descriptors", chosen([100], [70, 100, 160]))
@pytest.mark.parametrize("headers", [{}, {"connection": "close"}], ids=["keeps", "closes"])
async def test_more_endpoints_than_descriptors_get_everything(
    descriptors: int,
    headers: dict[str, str],
    database: Database,
    bridges: Bridges,
    receiver: Receiver,
    figures: Figures,
) -> None:
    receiver.script = lambda _: Response(headers=headers, after_seconds=0.05)
    ca_file = Path(bridges.settings["CDC_BRIDGE_ENDPOINT_CA_FILE"])
    for number in range(ENDPOINTS - 1):
        add_endpoint(database, f"till{number}", f"{receiver.url}?endpoint={number}", ca_file)
    port = free_port()
    settings = {LIMIT_VARIABLE: str(descriptors), "CDC_BRIDGE_WEB_PORT": str(port), "CDC_BRIDGE_LOG_LEVEL": "info"}
    bridge = await bridges.start("tests.faults.few_descriptors", **settings)
    await bridge.until_assigned("default", *(f"till{number}" for number in range(ENDPOINTS - 1)))
    began_at = asyncio.get_running_loop().time()
    database.execute(BOOK, ("R", 40))
    while len(receiver.delivered) < 40 * ENDPOINTS:
        assert await get(port, "/healthz") == (200, "alive\n")
    figures(
        f"{descriptors} descriptors, {ENDPOINTS} endpoints: {40 * ENDPOINTS} deliveries in "
        f"{asyncio.get_running_loop().time() - began_at:.1f} s, {receiver.most_under_way} at once"
    )
    assert set(Counter(request.path for request in receiver.delivered).values()) == {40}
    assert_no_endpoint_failed(bridge)
    assert database.value(CHARGED) == 0
    await until_told(port, 200, "ready")
    assert await bridge.terminate() == 0


async def test_descriptors_that_something_else_took_are_the_daemon_s_problem_alone(
    database: Database, bridges: Bridges, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script = lambda _: Response(headers={"connection": "close"})
    hog, port = tmp_path / "hog", free_port()
    settings = {LIMIT_VARIABLE: "200", HOG_VARIABLE: str(hog), "CDC_BRIDGE_WEB_PORT": str(port)}
    bridge = await bridges.start("tests.faults.few_descriptors", **settings, CDC_BRIDGE_LEASE_SECONDS="3")
    await bridge.until_assigned()
    database.execute(BOOK, ("BEFORE", 20))
    await receiver.wait_for_delivered(20)

    hog.touch()
    taken = hog.with_suffix(TAKEN)
    await until(taken.exists, "every descriptor is taken")
    database.execute(BOOK, ("DURING", 20))
    line = await bridge.wait_for_log("out of resources")
    assert line["problem"].startswith("this process ran out of file descriptors (limit 200)")
    await until(lambda: database.value(PROBLEMS) == 1, "the status says so")
    assert database.value("select status from cdc_bridge.endpoint_status") == "degraded"
    delivered = len(receiver.delivered)

    taken.unlink()
    await receiver.wait_for_delivered(40)
    assert delivered < 40
    await until_told(port, 503, "resources: this process ran out of file descriptors (limit 200)")
    assert (await metrics_of(port))["cdc_bridge_problem", "resources"] == 1
    assert_no_endpoint_failed(bridge)
    assert database.value(CHARGED) == 0
    assert len([line for line in bridge.log if line["event"] == "out of resources"]) == 1
    assert await bridge.terminate() == 0
