"""What Prometheus reads of the daemon."""

from __future__ import annotations

import asyncio
import socket
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.receiver import Receiver


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read(port: int) -> dict[tuple[str, ...], float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


async def test_result_of_the_scheduled_comparison_is_a_metric(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    port = free_port()
    bridge = await bridges.start(CDC_BRIDGE_WEB_PORT=str(port), CDC_BRIDGE_RECONCILE_INTERVAL_SECONDS="0.1")
    database.execute("insert into reservations (id, cust_id, reference, updated) values ('R', 'C', 1, now())")
    await receiver.wait_for_accepted(1)
    database.execute(
        "alter table reservations disable trigger all; "
        "insert into reservations (id, cust_id, reference, updated) values ('BYPASSED', 'C', 2, now())"
    )
    await bridge.wait_for_log("reconciled", missing=1, in_order=1)
    figures = await asyncio.to_thread(read, port)
    name = "cdc_bridge_reconciled_reservations"
    assert figures[name, "default", "missing"] == 1
    assert figures[name, "default", "in_order"] == 1
    assert figures[name, "default", "stale"] == 0
    assert figures["cdc_bridge_reconciled_timestamp_seconds", "default"] > 0


async def test_port_that_is_taken_is_a_wrong_setting(bridges: Bridges) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, errors = await run_command("run", **bridges.settings, CDC_BRIDGE_WEB_PORT=port)
    assert code == 78
    assert f"CDC_BRIDGE_WEB_PORT {port} cannot be had" in errors
    assert "Traceback" not in errors
