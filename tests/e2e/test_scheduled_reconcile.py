"""The daemon compares its endpoints with e-Res's rows by itself, at intervals."""

from __future__ import annotations

import pytest

from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.payloads import replace_in_payload
from tests.support.proxy import Proxy
from tests.support.receiver import Receiver
from tests.support.waiting import until

EVERY_SECOND = {"CDC_BRIDGE_RECONCILE_INTERVAL_SECONDS": "1"}
BOOKINGS = """
insert into customers (id, surname) values ('C', 'Featherstonehaugh') on conflict do nothing;
insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series({}) n
"""
UNCAPTURED = "set session_replication_role = replica; {}"
DELIVERED = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
FOUND = "select reconciled_missing, reconciled_stale from cdc_bridge.endpoint where reconciled_at is not null"


async def test_what_is_wrong_is_logged_and_noted_and_left_as_it_is(database: Database, bridges: Bridges) -> None:
    bridge = await bridges.start(**EVERY_SECOND)
    database.execute(BOOKINGS.format("1, 3"))
    await until(lambda: database.value(DELIVERED) == 3, "all are delivered")
    line = await bridge.wait_for_log("reconciled", in_sync=3)
    assert (line["level"], line["endpoint"], line["missing"], line["stale"]) == ("info", "default", 0, 0)
    database.execute(UNCAPTURED.format(BOOKINGS.format("4, 5")))
    database.execute(UNCAPTURED.format("update reservations set adults = 9 where id = 'R1'"))
    line = await bridge.wait_for_log("reconciled", missing=2, stale=1)
    assert (line["level"], line["in_sync"], line["queued"]) == ("warning", 2, 0)
    await until(lambda: database.execute(FOUND) == [(2, 1)], "the figures stand in the endpoint's row")
    assert "Featherstonehaugh" not in "".join(bridge.output)
    assert await bridge.terminate() == 0
    assert database.value("select count(*) from cdc_bridge.delivery") == 3


async def test_what_is_missing_or_stale_is_repaired_if_that_is_set(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    bridge = await bridges.start(**EVERY_SECOND, CDC_BRIDGE_RECONCILE_REPAIR="true")
    database.execute(BOOKINGS.format("1, 3"))
    await until(lambda: database.value(DELIVERED) == 3, "all are delivered")
    database.execute(UNCAPTURED.format(BOOKINGS.format("4, 5")))
    database.execute("update customers set surname = 'Cholmondeley'")
    await until(lambda: database.value(DELIVERED) == 8, "all five are delivered as they stand")
    await bridge.wait_for_log("reconciled", in_sync=5)
    assert await bridge.terminate() == 0
    assert {request.json["customer"]["surname"] for request in receiver.delivered[3:]} == {"Cholmondeley"}


async def test_reconciles_go_on_once_a_lost_database_is_back(
    database: Database, bridges: Bridges, proxy: Proxy
) -> None:
    settings = EVERY_SECOND | {"CDC_BRIDGE_DATABASE_URL": proxy.through(database.bridge_url)}
    bridge = await bridges.start(**settings)
    await bridge.wait_for_log("reconciled")
    await proxy.cut()
    await bridge.wait_for_log("database lost")
    known = len(bridge.log)
    await proxy.start()
    await bridge.wait_for_log("reconciled", since=known)
    assert await bridge.terminate() == 0


@pytest.mark.departs_from_contract("its mapping posts updated as PostgreSQL writes it")
async def test_payload_without_a_time_is_told_and_the_deliveries_go_on(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    replace_in_payload(database, "  r.updated,", "  r.updated::text as updated,")
    bridge = await bridges.start(**EVERY_SECOND)
    line = await bridge.wait_for_log("reconcile failed")
    assert "r.updated::timestamptz as updated" in line["problem"]
    database.execute(BOOKINGS.format("1, 1"))
    await receiver.wait_for_delivered(1)
