"""``backfill``, with the real daemon."""

from __future__ import annotations

import pytest

from cdc_bridge.deliveries.backfill import BackfillOptions, BackfillProgress
from cdc_bridge.deliveries.backfill import backfill as operation
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.payload.keys import ReservationKeys
from cdc_bridge.sessions import connect
from tests.support.access import ANNA
from tests.support.bridge import Bridges, run_command
from tests.support.commands import started_command
from tests.support.databases import Database
from tests.support.payloads import map_table
from tests.support.plans import explained
from tests.support.receiver import Receiver
from tests.support.waiting import until

FROM_NOW = {"CDC_BRIDGE_ENDPOINT_START": "now"}
BOOKINGS = """
insert into customers (id, surname) values ('C', 'Featherstonehaugh') on conflict do nothing;
insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, {}) n
"""
DELIVERED = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
WAITING = "select count(*) from cdc_bridge.delivery where state in ('queued', 'retrying')"
CHANGE = "update reservations set adults = 9 where id = 'R1'"


async def backfill(bridges: Bridges, *arguments: str) -> str:
    code, output, errors = await run_command("backfill", "default", *arguments, **bridges.settings)
    assert code == 0, errors
    return output


async def test_endpoint_gets_reservations_older_than_itself(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute(BOOKINGS.format(30))
    await bridges.start(**FROM_NOW)
    assert (
        await backfill(bridges, "--dry-run") == "Would queue for default: 30 reservations of 30. Nothing was queued.\n"
    )
    assert await backfill(bridges, "--wait") == "Queued for default: 30 reservations, all settled.\n"
    assert len({request.reservation_id for request in receiver.delivered}) == len(receiver.delivered) == 30
    request = receiver.delivered[0]
    assert request.headers["ce-type"] == "reservation.updated"
    assert request.headers["webhook-id"].startswith(f"{request.sequence}-")
    assert request.seq > database.value("select max(seq) from cdc_bridge.change")
    assert await backfill(bridges) == "Queued for default: 0 reservations.\n"


async def test_again_sends_all_of_them_under_new_numbers(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await bridges.start()
    database.execute(BOOKINGS.format(3))
    await until(lambda: database.value(DELIVERED) == 3, "all are delivered")
    assert await backfill(bridges, "--dry-run", "--again") == (
        "Would queue for default: 3 reservations of 3. Nothing was queued.\n"
    )
    assert await backfill(bridges, "--again", "--wait") == "Queued for default: 3 reservations, all settled.\n"
    before, after = receiver.delivered[:3], receiver.delivered[3:]
    assert {request.reservation_id for request in after} == {"R1", "R2", "R3"}
    assert min(request.seq for request in after) > max(request.seq for request in before)


async def test_later_change_has_a_higher_number(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    database.execute(BOOKINGS.format(1))
    await bridges.start(**FROM_NOW)
    await backfill(bridges, "--wait")
    database.execute(CHANGE)
    first, second = await receiver.wait_for_delivered(2)
    assert first.seq < second.seq
    assert second.json["adults"] == 9


async def test_reservations_updated_since_a_time_alone(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute(BOOKINGS.format(3))
    database.execute("update reservations set updated = '2026-01-01 12:00+00' where id <> 'R2'")
    await bridges.start(**FROM_NOW)
    await backfill(bridges, "--since", "2026-01-01T12:00:01Z")
    assert [request.reservation_id for request in await receiver.wait_for_delivered(1)] == ["R2"]


async def test_text_column_cannot_be_compared_with_a_time(database: Database, bridges: Bridges) -> None:
    database.execute(BOOKINGS.format(1))
    await (await bridges.start()).terminate()
    map_table(database, "public.reservations")
    code, _, errors = await run_command("backfill", "default", "--since", "2026-01-01T00:00Z", **bridges.settings)
    assert code == 1
    assert 'the column "updated" of the payload "reservation" is of type text' in errors
    assert "r.updated::timestamptz as updated" in errors


async def test_transaction_with_a_lower_number_is_waited_for_and_named(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute(BOOKINGS.format(3))
    await bridges.start(**FROM_NOW)
    async with database.connection(autocommit=False) as connection:
        await connection.execute(CHANGE)
        async with started_command(bridges.settings, "backfill", "default", "--wait") as command:
            await command.wait_for(f"Waiting for the transaction of process {connection.info.backend_pid} of ")
            assert database.value("select count(*) from cdc_bridge.delivery") == 0
            await connection.commit()
            assert await command.ended() == 0, command.words
    assert "Queued for default: 2 reservations, all settled." in command.words
    await receiver.wait_for_delivered(3)
    assert {request.reservation_id: request.json["adults"] for request in receiver.delivered} == {
        "R1": 9,
        "R2": 2,
        "R3": 2,
    }


async def test_prepared_transaction_is_named_and_a_change_of_a_lower_number_is_not_lost(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute(BOOKINGS.format(3))
    await bridges.start(**FROM_NOW, CDC_BRIDGE_WAKE="poll")
    name = f"of {database.name}"
    database.execute(f"begin; {CHANGE}; prepare transaction '{name}'")
    async with started_command(bridges.settings, "backfill", "default", "--wait") as command:
        try:
            await command.wait_for(f"Waiting for the prepared transaction {name}")
        finally:
            database.execute(f"commit prepared '{name}'")
        assert await command.ended() == 0, command.words
    await receiver.wait_for_delivered(3)
    assert [request.json["adults"] for request in receiver.delivered if request.reservation_id == "R1"] == [9]


async def test_interrupted_backfill_continues_where_it_was(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute(BOOKINGS.format(60))
    bridge = await bridges.start(**FROM_NOW)
    await bridge.terminate()
    async with started_command(bridges.settings, "backfill", "default", "--at-most", "20") as command:
        await command.wait_for("Waiting for the endpoint, which has 20 pending deliveries.")
        command.interrupt()
        assert await command.ended() == 130
    assert "Interrupted. Queued so far: 20 reservations. Run it again to continue." in command.words
    assert "Traceback" not in command.words
    assert database.value(WAITING) == 20
    await bridges.start(**FROM_NOW)
    assert await backfill(bridges, "--wait") == "Queued for default: 40 reservations, all settled.\n"
    await until(lambda: database.value(DELIVERED) == 60, "all are delivered")
    assert len(receiver.delivered) == 60


async def test_interrupt_while_waiting_for_a_transaction_is_clean(database: Database, bridges: Bridges) -> None:
    database.execute(BOOKINGS.format(3))
    await bridges.start(**FROM_NOW)
    async with database.connection(autocommit=False) as connection:
        await connection.execute(CHANGE)
        async with started_command(bridges.settings, "backfill", "default") as command:
            await command.wait_for("Waiting for the transaction of process")
            command.interrupt()
            assert await command.ended() == 130
    assert "Queued so far: 0 reservations." in command.words
    assert database.value("select count(*) from cdc_bridge.delivery") == 0


async def test_pending_deliveries_stay_below_the_limit(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute(BOOKINGS.format(60))
    await bridges.start(**FROM_NOW)
    most = 0

    def look(_: object) -> None:
        nonlocal most
        most = max(most, database.value(WAITING))

    receiver.on_delivered = look
    await backfill(bridges, "--at-most", "7", "--wait")
    assert 0 < most <= 7
    assert len(receiver.delivered) == 60


async def test_reservations_are_queued_a_page_at_a_time(
    database: Database, receiver: Receiver, bridges: Bridges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc_bridge.deliveries.backfill._PAGE", 7)
    monkeypatch.setattr("cdc_bridge.deliveries.enqueue.MAX_BATCH", 20)
    monkeypatch.setattr("cdc_bridge.deliveries.enqueue._CHUNK", 4)
    database.execute(BOOKINGS.format(50))
    await bridges.start(**FROM_NOW)
    done = BackfillProgress()
    async with await connect(database.bridge_url) as connection, database.loading_connection() as loading:
        endpoint = await resolve_endpoint(connection, "default")
        options = BackfillOptions(max_pending=100, wait=True)
        await operation(connection, loading, endpoint, options, progress=done, on_progress=lambda _: None, by=ANNA)
    assert (done.read, done.selected, done.queued, done.settled) == (50, 50, 50, 50)
    assert len({request.reservation_id for request in receiver.delivered}) == len(receiver.delivered) == 50


async def test_reservation_with_a_change_on_its_way_is_left_out(database: Database, bridges: Bridges) -> None:
    database.execute(BOOKINGS.format(3))
    await (await bridges.start(**FROM_NOW)).terminate()
    database.execute(CHANGE)
    assert await backfill(bridges) == (
        "Queued for default: 2 reservations.\n"
        "Not queued: 1 reservation, delivered meanwhile or with a change in the log.\n"
    )


@pytest.mark.parametrize(
    "arguments", [(), ("default", "--at-most", "0"), ("default", "--at-most", "x"), ("default", "--since", "x")]
)
async def test_wrong_usage(arguments: tuple[str, ...], bridges: Bridges) -> None:
    code, output, errors = await run_command("backfill", *arguments, **bridges.settings)
    assert (code, output) == (2, "")
    assert "Usage" in errors


async def test_endpoint_that_is_unknown_disabled_or_of_another_cluster(database: Database, bridges: Bridges) -> None:
    code, _, errors = await run_command("backfill", "default", **bridges.settings)
    assert code == 1
    assert "there is no endpoint" in errors
    await (await bridges.start()).terminate()
    code, _, errors = await run_command("backfill", "defult", **bridges.settings)
    assert code == 1
    assert "there is no endpoint defult; did you mean default?" in errors
    database.execute("update cdc_bridge.endpoint set disabled_at = now()")
    code, _, errors = await run_command("backfill", "default", **bridges.settings)
    assert code == 0
    assert (
        "default responded with 410: nothing is sent until it is resumed: cdc-bridge endpoint resume default" in errors
    )
    database.execute("update cdc_bridge.endpoint set cluster = 1")
    code, _, errors = await run_command("backfill", "default", **bridges.settings)
    assert code == 1
    assert "select cdc_bridge.adopt();" in errors


@pytest.mark.parametrize(
    ("key_type", "keys"),
    [
        ("uuid", "('0f8fad5b-d9cb-469f-a165-' || lpad(n::text, 12, '0'))::uuid"),
        ("integer", "n"),
        ("varchar(32)", "'R' || n"),
        ("char(8)", "'R' || n"),
    ],
)
async def test_keys_of_any_type_are_read_in_their_own_order_by_their_index(
    key_type: str, keys: str, database: Database
) -> None:
    database.execute(f"create table public.bookings (id {key_type} primary key)")
    map_table(database, "public.bookings")
    database.execute(f"insert into public.bookings select {keys} from generate_series(1, 20000) n")
    database.execute("analyze public.bookings")
    walk, seen = ReservationKeys(since=None), list[str]()
    async with database.loading_connection(as_superuser=True) as connection:
        plans = await explained(connection)
        await connection.execute("set auto_explain.log_nested_statements = on")
        plans.clear()
        while not walk.at_end:
            seen += await walk.next_page(connection, 3000)
    assert seen == [key for (key,) in database.execute("select b.id::text from public.bookings b order by b.id")]
    pages = [plan for plan in plans if "bookings" in plan and "payload_keys" not in plan]
    assert len(pages) == 7
    assert [plan for plan in pages if "Index" not in plan or "Seq Scan" in plan] == []


async def test_keys_with_much_padding_are_read_to_the_end(database: Database) -> None:
    database.execute("create table public.bookings (id char(600) primary key)")
    map_table(database, "public.bookings")
    database.execute("insert into public.bookings select 'R' || n from generate_series(1, 3000) n")
    walk, seen = ReservationKeys(since=None), list[str]()
    async with database.loading_connection() as connection:
        while not walk.at_end:
            seen += await walk.next_page(connection, 2000)
        assert len(seen) == await walk.count(connection) == 3000
