"""``replay``, with the real daemon."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cdc_bridge.deliveries.replay import ReplayProgress, Selection, count
from cdc_bridge.deliveries.replay import replay as operation
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.model import DeliveryState
from cdc_bridge.sessions import connect
from tests.support.access import ANNA
from tests.support.audit import wait_until_settled
from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint
from tests.support.receiver import Receiver
from tests.support.waiting import until

BOOKINGS = """
insert into customers (id, surname) values ('C', 'Featherstonehaugh') on conflict do nothing;
insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, {}) n
"""
DELIVERED = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
MAKE = """
update cdc_bridge.delivery
set state = %s, skip_reason = case %s when 'skipped' then 'deleted' end, next_attempt_at = null
where reservation_id = %s
"""
ATTEMPTED_AT = "update cdc_bridge.delivery set last_attempt_at = %s where reservation_id = %s"


async def delivered_bookings(number: int, database: Database, receiver: Receiver, bridges: Bridges) -> None:
    """Have so many reservations delivered by a running daemon, R1 and so on; forget the requests."""
    await bridges.start()
    database.execute(BOOKINGS.format(number))
    await until(lambda: database.value(DELIVERED) == number, "all are delivered and recorded")
    receiver.delivered.clear()


async def replay(bridges: Bridges, *arguments: str) -> str:
    code, output, errors = await run_command("replay", *arguments, **bridges.settings)
    assert code == 0, errors
    assert "Traceback" not in errors
    return output


async def test_reservation_is_sent_again_with_its_current_state(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await delivered_bookings(3, database, receiver, bridges)
    database.execute("update customers set surname = 'Cholmondeley'")
    output = await replay(bridges, "--reservation", "R2", "--reservation", "R3")
    assert output == "Queued for default: 2 reservations.\n"
    calls = {request.reservation_id: request for request in await receiver.wait_for_delivered(2)}
    assert calls.keys() == {"R2", "R3"}
    assert calls["R2"].json["customer"]["surname"] == "Cholmondeley"
    await until(lambda: database.value(DELIVERED) == 3, "all are delivered again")
    assert database.execute("select attempts from cdc_bridge.delivery order by seq") == [(1,), (2,), (2,)]


@pytest.mark.parametrize("state", ["dead", "skipped", "retrying", "delivered"])
async def test_state_is_that_of_the_newest_delivery(
    state: str, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await delivered_bookings(3, database, receiver, bridges)
    others = "skipped" if state == "dead" else "dead"
    for reservation_id in ("R1", "R2", "R3"):
        its_state = state if reservation_id == "R2" else others
        database.execute(MAKE, (its_state, its_state, reservation_id))
    output = await replay(bridges, "--state", state)
    assert output.startswith("Queued for default: 1 reservation.")
    assert [request.reservation_id for request in await receiver.wait_for_delivered(1)] == ["R2"]


async def test_superseded_delivery_counts_as_delivered(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await delivered_bookings(1, database, receiver, bridges)
    database.execute(MAKE, ("superseded", "superseded", "R1"))
    await replay(bridges, "--state", "delivered")
    await receiver.wait_for_delivered(1)


async def test_times_are_those_of_the_last_attempts(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    await delivered_bookings(3, database, receiver, bridges)
    for hour, reservation_id in enumerate(("R1", "R2", "R3"), start=9):
        database.execute(ATTEMPTED_AT, (datetime(2026, 7, 1, hour).astimezone(), reservation_id))
    until_ = f"{datetime(2026, 7, 1, 10, 30).astimezone(UTC):%Y-%m-%dT%H:%MZ}"
    code, output, errors = await run_command(
        "replay", "--since", "2026-07-01T09:30", "--until", until_, **bridges.settings
    )
    assert (code, output) == (0, "Queued for default: 1 reservation.\n")
    local = datetime(2026, 7, 1, 9, 30).astimezone()
    read = dict.fromkeys([f"{local:%Y-%m-%d %H:%M:%S %Z}", f"{local.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"])
    assert errors == f"--since: {', '.join(read)}.\n"
    assert [request.reservation_id for request in await receiver.wait_for_delivered(1)] == ["R2"]


async def test_dry_run_counts_and_does_nothing(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    await delivered_bookings(3, database, receiver, bridges)
    assert await replay(bridges, "--state", "delivered", "--dry-run") == (
        "Would queue for default: 3 reservations. Nothing was queued.\n"
    )
    assert await replay(bridges, "--state", "dead", "--dry-run") == (
        "Would queue for default: 0 reservations. Nothing was queued.\n"
    )
    assert database.value(DELIVERED) == 3


@pytest.mark.slow
async def test_many_reservations_are_queued_in_several_transactions(database: Database, bridges: Bridges) -> None:
    bridge = await bridges.start()
    database.execute(BOOKINGS.format(2500))
    await until(lambda: database.value(DELIVERED) == 2500, "all are delivered", 60)
    await bridge.terminate()
    database.execute("update cdc_bridge.delivery set state = 'dead', next_attempt_at = null")
    assert await replay(bridges, "--state", "dead") == "Queued for default: 2,500 reservations.\n"
    queued_at = "select count(distinct next_attempt_at), count(*) from cdc_bridge.delivery where state = 'queued'"
    assert database.execute(queued_at) == [(3, 2500)]


async def test_reservations_are_selected_a_page_at_a_time(
    database: Database, receiver: Receiver, bridges: Bridges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc_bridge.deliveries.replay._PAGE", 7)
    monkeypatch.setattr("cdc_bridge.deliveries.replay._CHUNK", 3)
    await delivered_bookings(50, database, receiver, bridges)
    done, reported = ReplayProgress(), list[int]()
    async with await connect(database.bridge_url) as connection:
        endpoint = await resolve_endpoint(connection, None)
        selection = Selection(states=[DeliveryState.DELIVERED])
        assert (await count(connection, endpoint, selection)).selected == 50
        await operation(connection, endpoint, selection, done, lambda so_far: reported.append(so_far.selected), by=ANNA)
    assert (done.selected, done.queued, reported[-1], len(reported)) == (50, 50, 50, 22)
    await receiver.wait_for_delivered(50)
    assert len({request.reservation_id for request in receiver.delivered}) == 50


async def test_reservation_with_a_change_on_its_way_is_left_out(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    bridge = await bridges.start()
    database.execute(BOOKINGS.format(2))
    await until(lambda: database.value(DELIVERED) == 2, "both are delivered")
    await bridge.terminate()
    database.execute("update reservations set adults = 9 where id = 'R1'")
    output = await replay(bridges, "--state", "delivered")
    assert output == (
        "Queued for default: 1 reservation.\n"
        "Not queued: 1 reservation, delivered meanwhile or with a change in the log. That change is sent, unless the "
        "endpoint skips unchanged bodies: then run it again in a while.\n"
    )
    assert database.execute("select reservation_id from cdc_bridge.delivery where state = 'queued'") == [("R2",)]


async def test_change_on_its_way_that_the_endpoint_does_not_get_leaves_nothing_out(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    bridge = await bridges.start(CDC_BRIDGE_ENDPOINT_EVENTS="created")
    database.execute(BOOKINGS.format(2))
    await until(lambda: database.value(DELIVERED) == 2, "both are delivered")
    await bridge.terminate()
    database.execute("update reservations set adults = 9 where id = 'R1'")
    output = await replay(bridges, "--state", "delivered")
    assert output == "Queued for default: 2 reservations.\n"
    receiver.delivered.clear()
    await bridges.start(CDC_BRIDGE_ENDPOINT_EVENTS="created")
    await until(lambda: database.value(DELIVERED) == 2, "both are delivered again")
    assert {request.reservation_id for request in receiver.delivered} == {"R1", "R2"}


async def test_only_the_newest_delivery_of_a_reservation_is_queued(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await delivered_bookings(1, database, receiver, bridges)
    database.execute("update reservations set adults = 9")
    await until(lambda: database.value(DELIVERED) == 2, "both are delivered")
    database.execute("update cdc_bridge.delivery set last_attempt_at = '2026-07-01 10:00+00' where seq = 1")
    receiver.delivered.clear()
    await replay(bridges, "--since", "2026-07-01T09:00Z", "--until", "2026-07-01T11:00Z")
    (request,) = await receiver.wait_for_delivered(1)
    assert request.seq == 2
    await until(lambda: database.value(DELIVERED) == 2, "both are delivered")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--dry-run",),
        ("--since", "tomorrow"),
        ("--until", "2026-13-01"),
        ("--since", "2026-07-02", "--until", "2026-07-01"),
        ("--state", "gone"),
        ("--reservation", "R\udce9"),
        ("--since", "0001-01-01T00:00+05:00"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], bridges: Bridges) -> None:
    code, output, errors = await run_command("replay", *arguments, **bridges.settings)
    assert (code, output) == (2, "")
    assert "Usage" in errors
    assert "Traceback" not in errors


async def test_endpoint_must_be_named_among_several_and_a_paused_one_is_pointed_out(
    database: Database, receiver: Receiver, bridges: Bridges, certificates: Certificates
) -> None:
    await delivered_bookings(1, database, receiver, bridges)
    add_endpoint(database, "till", receiver.url, certificates.ca_file)
    code, _, errors = await run_command("replay", "--state", "dead", **bridges.settings)
    assert code == 2
    assert "there are several endpoints: default, till" in errors
    database.execute("update cdc_bridge.endpoint set paused_at = now() where name = 'till'")
    code, _, errors = await run_command("replay", "--state", "dead", "--endpoint", "till", **bridges.settings)
    assert code == 0
    assert "till is paused: nothing is sent until it is resumed: cdc-bridge endpoint resume till" in errors


async def test_reservation_that_was_never_delivered_is_named(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await delivered_bookings(1, database, receiver, bridges)
    code, output, errors = await run_command(
        "replay", "--reservation", "R1", "--reservation", "R'; drop", "--dry-run", **bridges.settings
    )
    assert (code, output) == (1, "Would queue for default: 1 reservation. Nothing was queued.\n")
    assert "Not queued: R'; drop." in errors


async def test_change_made_meanwhile_comes_last_whatever_is_replayed(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await delivered_bookings(20, database, receiver, bridges)
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    async def change() -> None:
        async with database.connection() as connection:
            for _ in range(40):
                await connection.execute("update reservations set duration = duration + 1")

    changing = asyncio.create_task(change())
    while not changing.done():
        await replay(bridges, "--since", hour_ago)
    await changing
    await wait_until_settled(database)
    for number in range(1, 21):
        calls = [request for request in receiver.delivered if request.reservation_id == f"R{number}"]
        assert [request.seq for request in calls] == sorted(request.seq for request in calls)
        assert calls[-1].json["duration"] == 160
