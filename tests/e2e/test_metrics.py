"""What Prometheus reads of the daemon."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cdc_bridge.demo.ports import free_port
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.http import figures, get
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import PATIENCE_SECONDS, until


async def test_result_of_the_scheduled_comparison_is_a_metric(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    port = free_port()
    bridge = await bridges.start(CDC_BRIDGE_WEB_PORT=str(port), CDC_BRIDGE_RECONCILE_INTERVAL_SECONDS="0.1")
    database.execute("insert into reservations (id, cust_id, reference, updated) values ('R', 'C', 1, now())")
    await receiver.wait_for_delivered(1)
    database.execute(
        "alter table reservations disable trigger all; "
        "insert into reservations (id, cust_id, reference, updated) values ('BYPASSED', 'C', 2, now())"
    )
    await bridge.wait_for_log("reconciled", missing=1, in_sync=1)
    found = await figures(port)
    name = "cdc_bridge_reconciled_reservations"
    assert found[name, "default", "missing"] == 1
    assert found[name, "default", "in_sync"] == 1
    assert found[name, "default", "stale"] == 0
    assert found["cdc_bridge_reconciled_timestamp_seconds", "default"] > 0


async def test_port_that_is_taken_is_a_wrong_setting(bridges: Bridges) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, errors = await run_command("run", **bridges.settings, CDC_BRIDGE_WEB_PORT=port)
    assert code == 78
    assert f"CDC_BRIDGE_WEB_PORT {port} cannot be used" in errors
    assert f"ss -ltnp 'sport = :{port}'" in errors
    assert "Traceback" not in errors


async def test_deliveries_are_counted_timed_and_forgotten_with_their_endpoint(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    receiver.script = lambda request: Response(status=422 if request.reservation_id == "REFUSED" else 200)
    port = free_port()
    bridge = await bridges.start(CDC_BRIDGE_WEB_PORT=str(port))
    database.execute("insert into customers (id) values ('C')")
    database.execute(
        "insert into reservations (id, cust_id, reference) values ('A', 'C', 1), ('B', 'C', 2), ('REFUSED', 'C', 3)"
    )
    await receiver.wait_for_delivered(2)
    await bridge.wait_for_log("delivery recorded", state="retrying")
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery") == 3, "all is in the delivery log")
    found = await figures(port)
    assert found["cdc_bridge_changes_read_total", "default"] == 3
    assert found["cdc_bridge_deliveries_total", "default", "delivered"] == 2
    assert found["cdc_bridge_deliveries_total", "default", "retrying"] == 1
    assert found["cdc_bridge_deliveries_total", "default", "dead"] == 0
    assert found["cdc_bridge_request_duration_seconds_count", "default"] == 3
    assert found["cdc_bridge_commit_to_delivered_seconds_count", "default"] == 2
    assert found["cdc_bridge_pending_deliveries", "default"] == found["cdc_bridge_backlog_changes", "default"] == 1
    assert 0 < found["cdc_bridge_lag_seconds", "default"] < 60
    assert found["cdc_bridge_endpoint_status", "default", "degraded"] == 1
    assert found["cdc_bridge_breaker_open", "default"] == found["cdc_bridge_in_flight_requests", "default"] == 0
    assert found["cdc_bridge_notifications_received",] == found["cdc_bridge_database_up",] == 1
    assert found["cdc_bridge_wake_ups_total", "notification"] >= 0
    assert {value for (name, *_), value in found.items() if name == "cdc_bridge_problem"} == {0}
    assert [name for name, *_ in found if name == "cdc_bridge_build_info"]

    code, _, _ = await run_command("endpoint", "add", "second", receiver.url, **bridges.settings)
    assert code == 0
    await bridge.until_assigned("second")
    assert ("cdc_bridge_changes_read_total", "second") not in await figures(port), "nothing was delivered to it"
    database.execute("insert into reservations (id, cust_id, reference) values ('D', 'C', 4)")
    await until_series(port, "second", lambda series: "cdc_bridge_changes_read_total" in series)
    assert (await figures(port))["cdc_bridge_changes_read_total", "second"] == 1
    await run_command("endpoint", "remove", "second", "--yes", **bridges.settings)
    await bridge.wait_for_log("endpoint removed", endpoint="second")
    await until_series(port, "second", lambda series: not series)


async def until_series(port: int, endpoint: str, condition: Callable[[set[str]], bool]) -> None:
    """Wait for a condition of the names of the metrics that have a series of an endpoint."""
    series: set[str] = set()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition(series := {name for name, *labels in await figures(port) if endpoint in labels}):
                await asyncio.sleep(0.2)
    except TimeoutError:
        pytest.fail(f"the metrics with a series of {endpoint} are {sorted(series)}")


async def test_every_metric_is_named_as_prometheus_wants_it_and_says_what_it_is(bridges: Bridges) -> None:
    port = free_port()
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(port))
    _, text = await get(port, "/metrics")
    families = list(text_string_to_metric_families(text))
    ours = [family for family in families if family.name.startswith("cdc_bridge_")]
    assert len(ours) > 20
    for family in ours:
        assert re.fullmatch(r"[a-z_]+", family.name)
        assert len(family.documentation) > 15
        labels = {label for sample in family.samples for label in sample.labels}
        assert labels <= {"endpoint", "state", "reason", "status", "by", "part", "le", "version", "python"}, family.name
