"""``reconcile``, with the real daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cdc_bridge.deliveries.enqueue import Enqueuer
from cdc_bridge.deliveries.reconcile import ComparedEndpoint, ReconcileReport, SyncState, reconcile
from cdc_bridge.model import EndpointId, Events
from cdc_bridge.payload.subscription import EVERYTHING
from cdc_bridge.sessions import connect
from tests.support.audit import wait_until_settled
from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint
from tests.support.payloads import map_table, replace_in_payload
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until
from tests.support.workload import Workload, chosen_seed

BOOKINGS = """
insert into customers (id, surname) values ('C', 'Featherstonehaugh') on conflict do nothing;
insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series({}) n
"""
DELIVERED = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
UNCAPTURED = "set session_replication_role = replica; {}"
TRIGGERS_OFF = "alter table reservations disable trigger user; {}; alter table reservations enable trigger user"


async def delivered_bookings(number: int, database: Database, bridges: Bridges, **settings: str) -> None:
    """Have so many reservations delivered by a running daemon, R1 and so on."""
    await bridges.start(**settings)
    database.execute(BOOKINGS.format(f"1, {number}"))
    await until(lambda: database.value(DELIVERED) == number, "all are delivered and recorded")


async def reconciled(bridges: Bridges, *arguments: str, code: int) -> dict[str, Any]:
    """Compare the one endpoint; return what was found."""
    exit_code, output, errors = await run_command("reconcile", "--json", *arguments, **bridges.settings)
    assert exit_code == code, output + errors
    (found,) = json.loads(output)["endpoints"]
    assert json.loads(output)["ok"] == (code == 0)
    return dict(found)


async def assert_repaired(bridges: Bridges, database: Database, kind: str, ids: Sequence[str]) -> None:
    """Exactly these are found, repaired, and in sync then."""
    found = await reconciled(bridges, code=1)
    assert (found[kind], sorted(found["ids"][kind])) == (len(ids), sorted(ids))
    assert found["queued"] == 0
    assert (await reconciled(bridges, "--repair", code=1))["queued"] == len(ids)
    await until(
        lambda: database.value("select count(*) from cdc_bridge.delivery where state in ('queued', 'retrying')") == 0,
        "all arrive",
    )
    found = await reconciled(bridges, code=0)
    assert found["in_sync"] == found["compared"]


async def test_everything_is_in_sync_after_deliveries(database: Database, bridges: Bridges) -> None:
    await delivered_bookings(1200, database, bridges)
    database.execute("update reservations set adults = 9 where reference % 2 = 0")
    await until(lambda: database.value(DELIVERED) == 1800, "the changes are delivered")
    found = await reconciled(bridges, code=0)
    assert (found["compared"], found["in_sync"]) == (1200, 1200)
    code, output, _ = await run_command("reconcile", **bridges.settings)
    assert code == 0
    assert output.startswith("default: 1,200 reservations whose updated column is ")
    assert "To compare older ones" not in output
    _, output, _ = await run_command("reconcile", "--since", "2999-01-01", **bridges.settings)
    assert output.startswith("default: 0 reservations whose updated column is 2998-12-31 ") or "2999-01-01" in output
    assert "To compare older ones: cdc-bridge reconcile --since 2000-01-01\n" in output
    assert "in sync         1,200\n" in output


@pytest.mark.parametrize("how", [UNCAPTURED, TRIGGERS_OFF], ids=["replication role", "triggers disabled"])
async def test_rows_written_past_the_triggers_are_missing(
    how: str, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await delivered_bookings(3, database, bridges)
    database.execute(how.format(BOOKINGS.format("4, 6")))
    await assert_repaired(bridges, database, "missing", ["R4", "R5", "R6"])
    assert {request.reservation_id for request in receiver.delivered} == {f"R{number}" for number in range(1, 7)}


@pytest.mark.parametrize("how", [UNCAPTURED, TRIGGERS_OFF], ids=["replication role", "triggers disabled"])
async def test_rows_changed_past_the_triggers_are_stale(
    how: str, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await delivered_bookings(3, database, bridges)
    database.execute(how.format("update reservations set adults = 9 where id = 'R2'"))
    await assert_repaired(bridges, database, "stale", ["R2"])
    assert (receiver.delivered[-1].reservation_id, receiver.delivered[-1].json["adults"]) == ("R2", 9)


async def test_row_restored_by_copy_is_found(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    await delivered_bookings(3, database, bridges)
    with psycopg.connect(database.url) as connection:
        cursor = connection.cursor()
        with cursor.copy("copy (select * from reservations where id = 'R2') to stdout") as copying:
            row = b"".join(bytes(part) for part in copying)
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from reservations where id = 'R2'")
        with cursor.copy("copy reservations from stdin") as copying:
            copying.write(row.replace(b"Confirmed", b"Restored"))
            copying.write(row.replace(b"R2", b"R7"))
    found = await reconciled(bridges, "--repair", code=1)
    assert found["ids"] == {"missing": ["R7"], "stale": ["R2"], "dead": [], "unreadable": []}
    await receiver.wait_for_delivered(5)
    assert {request.reservation_id: request.json["status"] for request in receiver.delivered[3:]} == {
        "R2": "Restored",
        "R7": "Confirmed",
    }


async def test_reservation_that_cannot_be_loaded_is_unreadable_and_the_others_are_compared(
    database: Database, bridges: Bridges
) -> None:
    await delivered_bookings(3, database, bridges)
    cast = "case when r.notes = '' then r.adults else r.notes::integer end as adults,"
    replace_in_payload(database, "r.adults,", cast)
    database.execute(UNCAPTURED.format("update reservations set notes = 'a secret' where id = 'R2'"))
    found = await reconciled(bridges, code=1)
    assert (found["in_sync"], found["unreadable"], found["ids"]["unreadable"]) == (2, 1, ["R2"])
    code, output, errors = await run_command("reconcile", "--repair", **bridges.settings)
    assert code == 1
    assert "unreadable          1  R2\n" in output
    assert "Queued: 0 reservations." in output
    assert "a secret" not in output + errors


async def test_reservation_deleted_and_restored_is_missing(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute(BOOKINGS.format("1, 1"))
    database.execute("delete from reservations")
    await bridges.start()
    await until(lambda: database.value("select skipped_deleted from cdc_bridge.endpoint") == 1, "it is skipped")
    database.execute(UNCAPTURED.format(BOOKINGS.format("1, 1")))
    await assert_repaired(bridges, database, "missing", ["R1"])
    await receiver.wait_for_delivered(1)


async def test_customer_or_call_changed_alone_makes_its_reservations_stale(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await delivered_bookings(3, database, bridges)
    database.execute("insert into calls (call_id, number) values ('K', '0123')")
    database.execute("update reservations set call_id = 'K' where id = 'R3'")
    await until(lambda: database.value(DELIVERED) == 4, "the call is delivered")
    database.execute("update calls set number = '0456'")
    await assert_repaired(bridges, database, "stale", ["R3"])
    database.execute("update customers set surname = 'Cholmondeley'")
    await assert_repaired(bridges, database, "stale", ["R1", "R2", "R3"])
    assert receiver.delivered[-1].json["customer"]["surname"] == "Cholmondeley"


async def test_dead_is_reported_and_repaired_only_on_request(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(422)
    await bridges.start()
    database.execute(BOOKINGS.format("1, 2"))
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery") == 2, "both are rejected")
    database.execute("update cdc_bridge.delivery set state = 'dead', next_attempt_at = null")
    receiver.script = lambda _: Response()
    found = await reconciled(bridges, "--repair", code=1)
    assert (found["dead"], sorted(found["ids"]["dead"]), found["queued"]) == (2, ["R1", "R2"], 0)
    _, output, _ = await run_command("reconcile", **bridges.settings)
    assert "To send what is dead: cdc-bridge replay --endpoint default --state dead" in output
    assert (await reconciled(bridges, "--repair", "--dead", code=1))["queued"] == 2
    await receiver.wait_for_delivered(2)
    await until(lambda: database.value(DELIVERED) == 2, "both are delivered")
    assert (await reconciled(bridges, code=0))["in_sync"] == 2


async def test_retrying_delivery_or_unread_change_is_pending(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda request: Response(422 if request.reservation_id == "R1" else 200)
    bridge = await bridges.start()
    database.execute(BOOKINGS.format("1, 2"))
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery") == 2, "both are sent")
    await bridge.terminate()
    database.execute("update reservations set adults = 9 where id = 'R2'")
    database.execute(BOOKINGS.format("3, 3"))
    found = await reconciled(bridges, "--repair", code=0)
    assert (found["pending"], found["compared"], found["queued"]) == (3, 3, 0)


async def test_ids_are_shown_up_to_twenty_and_all_in_json(database: Database, bridges: Bridges) -> None:
    await delivered_bookings(1, database, bridges)
    database.execute(UNCAPTURED.format(BOOKINGS.format("2, 26")))
    code, output, _ = await run_command("reconcile", **bridges.settings)
    assert code == 1
    (line,) = (line for line in output.splitlines() if line.startswith("  missing"))
    assert line.split()[1] == "25"
    assert line.endswith(" and 5 more")
    assert line.count("R") == 20
    assert "To send what is missing or stale: cdc-bridge reconcile --endpoint default --repair" in output
    assert len((await reconciled(bridges, code=1))["ids"]["missing"]) == 25


async def test_only_what_was_updated_since_a_time_is_compared(database: Database, bridges: Bridges) -> None:
    database.execute(BOOKINGS.format("1, 3"))
    database.execute("update reservations set updated = now() - interval '3 days' where id = 'R3'")
    await bridges.start(CDC_BRIDGE_ENDPOINT_START="now")
    assert (await reconciled(bridges, code=0))["compared"] == 0  # the endpoint was added later
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    found = await reconciled(bridges, "--since", yesterday, code=1)
    assert sorted(found["ids"]["missing"]) == ["R1", "R2"]


async def test_each_endpoint_is_compared_by_itself(
    database: Database, receiver: Receiver, bridges: Bridges, certificates: Certificates
) -> None:
    await delivered_bookings(2, database, bridges)
    add_endpoint(database, "till", receiver.url, certificates.ca_file)
    await until(lambda: database.value(DELIVERED) == 4, "the new endpoint has all too")
    database.execute("delete from cdc_bridge.delivery where seq = 1 and endpoint_id = 2")
    database.execute("update cdc_bridge.endpoint set created_at = now() - interval '1 hour'")
    code, output, _ = await run_command("reconcile", "--json", **bridges.settings)
    assert code == 1
    found = {endpoint["endpoint"]: endpoint["missing"] for endpoint in json.loads(output)["endpoints"]}
    assert found == {"default": 0, "till": 1}
    code, _, errors = await run_command("reconcile", "--endpoint", "til", **bridges.settings)
    assert code == 1
    assert "did you mean till?" in errors


async def test_text_column_cannot_be_compared_with_a_time(database: Database, bridges: Bridges) -> None:
    await (await bridges.start()).terminate()
    map_table(database, "public.reservations")
    code, _, errors = await run_command("reconcile", **bridges.settings)
    assert code == 1
    assert "r.updated::timestamptz as updated" in errors


@pytest.mark.parametrize("arguments", [("--dead",), ("--since", "x"), ("nonsense",)])
async def test_wrong_usage(arguments: tuple[str, ...], bridges: Bridges) -> None:
    code, output, errors = await run_command("reconcile", *arguments, **bridges.settings)
    assert (code, output) == (2, "")
    assert "Usage" in errors


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("latest_only", ["false", "true"])
async def test_no_false_alarm_while_writers_write(
    latest_only: str, database: Database, receiver: Receiver, bridges: Bridges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc_bridge.deliveries.reconcile._PAGE", 70)
    monkeypatch.setattr("cdc_bridge.deliveries.reconcile._LOAD", 20)
    seed = chosen_seed()
    workload = Workload(database, seed)
    workload.set_up(bulk_rows=500)
    settings = {"CDC_BRIDGE_BATCH_SIZE": "20", "CDC_BRIDGE_ENDPOINT_LATEST_ONLY": latest_only}
    bridge = await bridges.start(**settings, CDC_BRIDGE_LOG_LEVEL="info")
    writing = asyncio.create_task(workload.run(writers=6, seconds=10))
    endpoint_id = EndpointId(database.value("select endpoint_id from cdc_bridge.endpoint"))
    endpoint = ComparedEndpoint(endpoint_id, EVERYTHING, Events.BOTH)
    times, pending = 0, 0
    async with await connect(database.bridge_url) as connection, database.loading_connection() as loading:

        async def compare_all() -> ReconcileReport:
            found = ReconcileReport()
            enqueuer = Enqueuer(connection, endpoint_id, 1, lambda _: None)
            since = datetime.min.replace(tzinfo=UTC)
            await reconcile(connection, loading, endpoint, since, found, enqueuer=enqueuer)
            assert found.in_sync, (found.counts, found.ids)
            return found

        while not writing.done():
            pending += (await compare_all()).counts[SyncState.PENDING]
            times += 1
        await writing
        await wait_until_settled(database)
        found = await compare_all()
    assert found.counts[SyncState.IN_SYNC] == found.compared > 500
    assert pending > 0
    print(f"{times} times, {pending} pending")
    assert await bridge.terminate() == 0


@pytest.mark.departs_from_contract("updated is null")
async def test_row_that_has_no_time_of_update_is_compared_too(database: Database, bridges: Bridges) -> None:
    await delivered_bookings(1, database, bridges)
    database.execute("alter table reservations alter column updated drop not null, alter column created drop not null")
    columns = "insert into reservations (id, cust_id, reference, created, updated) values"
    for row in (
        "('NEVER UPDATED', 'C', 1, now(), null)",
        "('WITHOUT TIMES', 'C', 1, null, null)",
        "('OLD', 'C', 1, now() - interval '1 year', null)",
    ):
        database.execute(UNCAPTURED.format(f"{columns} {row}"))
    since = ("--since", "1h")
    found = await reconciled(bridges, *since, code=1)
    assert sorted(found["ids"]["missing"]) == ["NEVER UPDATED", "WITHOUT TIMES"]
    await reconciled(bridges, *since, "--repair", code=1)
    await until(lambda: database.value(DELIVERED) == 3, "both are delivered")
    found = await reconciled(bridges, *since, code=0)
    assert found["missing"] == 0
