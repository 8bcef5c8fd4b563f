"""An endpoint with a limit of requests per second: the daemon keeps to it, and everything names it as the reason."""

from __future__ import annotations

import asyncio

from cdc_bridge.demo.ports import free_port
from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.http import figures, get
from tests.support.receiver import Receiver
from tests.support.waiting import PATIENCE_SECONDS

BOOKINGS = """
insert into customers (id) values ('C') on conflict do nothing;
insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, %s) n
"""


async def test_requests_keep_to_the_limit_of_the_settings(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    bridge = await bridges.start(CDC_BRIDGE_ENDPOINT_MAX_PER_SECOND="5")
    await bridge.until_assigned()
    database.execute(BOOKINGS % 11)
    requests = await receiver.wait_for_delivered(11)
    # Two seconds by the daemon's clock; without the limit it takes some milliseconds.
    assert (requests[-1].at - requests[0].at).total_seconds() > 1


async def test_limit_is_named_as_the_reason_of_the_lag_until_it_is_removed(
    database: Database, bridges: Bridges, receiver: Receiver, endpoint: EndpointCommands, certificates: Certificates
) -> None:
    port = free_port()
    for name in [name for name in bridges.settings if name.startswith("CDC_BRIDGE_ENDPOINT_")]:
        del bridges.settings[name]
    bridge = await bridges.start(CDC_BRIDGE_WEB_PORT=str(port), CDC_BRIDGE_LEASE_SECONDS="2")
    options = ("--ca-file", str(certificates.ca_file), "--max-per-second", "0.01")
    await endpoint.run("add", "till", receiver.url, *options)
    await bridge.until_assigned()
    database.execute(BOOKINGS % 2)
    await receiver.wait_for_delivered(1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (shown := await endpoint.json("show", "till"))["lag_reason"] is None:
            await asyncio.sleep(0.2)
    assert (shown["status"], shown["reason"]) == ("healthy", None)
    assert shown["lag_reason"] == "limited to 0.01 requests a second"
    assert shown["rate_limited_since"] is not None
    assert "healthy: limited to 0.01 requests a second" in await endpoint.run("show", "till")
    assert "limited to 0.01 requests a second" in " ".join((await endpoint.run("list")).split())
    code, status, _ = await run_command("status", **bridges.settings)
    assert code == 0
    assert "limited" in status
    found = await figures(port)
    assert found["cdc_bridge_rate_limited", "till"] == found["cdc_bridge_endpoint_status", "till", "healthy"] == 1
    assert (await get(port, "/readyz"))[0] == 200
    assert len(receiver.requests) == 1

    before = bridge.assignments()
    await endpoint.run("set", "till", "--max-per-second", "")
    await bridge.until_assigned("till", after=before)
    await receiver.wait_for_delivered(2)
    assert (await endpoint.json("show", "till"))["lag_reason"] is None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await figures(port)).get(("cdc_bridge_rate_limited", "till")) != 0:
            await asyncio.sleep(0.2)
