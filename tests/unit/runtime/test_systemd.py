from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.runtime.systemd import status_line
from tests.unit.runtime.scripted import Daemon, listed

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


async def test_status_line_names_each_endpoint_in_order(daemon: Daemon) -> None:
    till, bar, kitchen = await daemon.lease(listed(), listed(2, "bar"), listed(3, "kitchen"))
    bar.has_retrying = True
    kitchen.state = EndpointState(failing_since=NOON, problem="HTTP 503 Service Unavailable")
    assert status_line(daemon.supervisor.leased, database_lost=False, fallen_back=False) == (
        "bar is up to date, rejected deliveries are retrying; "
        "kitchen is failing since 12:00:00 UTC (HTTP 503 Service Unavailable); "
        "till is up to date"
    )
    till.oldest_in_hand = datetime.now(UTC)
    kitchen.state = replace(kitchen.state, failing_since=None)
    line = status_line(daemon.supervisor.leased, database_lost=False, fallen_back=True)
    assert line.endswith("till is 0 s behind; polling, as notifications do not arrive")


async def test_status_line_without_endpoints_or_database() -> None:
    assert status_line([], database_lost=False, fallen_back=True) == "Idle: no endpoint assigned"
    assert status_line([], database_lost=True, fallen_back=False) == "Waiting for the database"
