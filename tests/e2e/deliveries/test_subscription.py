"""``backfill``, ``reconcile``, ``replay`` and ``delivery retry`` for endpoints that do not get everything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.payloads import define_payload
from tests.support.receiver import Receiver
from tests.support.waiting import until

NARROW = {"CDC_BRIDGE_ENDPOINT_PAYLOAD": "kitchen", "CDC_BRIDGE_ENDPOINT_ONLY": "@room=Bar"}
KITCHEN = 'select r.id, r.adults, r.room_name as "@room" from {reservation} r'
UNCAPTURED = "set session_replication_role = replica; {}"

pytestmark = pytest.mark.departs_from_contract("its payload is another one")


@pytest.fixture(autouse=True)
def kitchen(database: Database) -> None:
    define_payload(database, KITCHEN, "kitchen")
    database.execute("insert into customers (id) values ('C')")


def book(database: Database, *ids: str, room: str = "Bar", created: str = "now()") -> None:
    for id_ in ids:
        database.execute(
            "insert into reservations (id, cust_id, reference, room_name, created, updated) "
            f"values (%s, 'C', 1, %s, {created}, {created})",
            (id_, room),
        )


async def run(bridges: Bridges, *arguments: str, code: int = 0) -> str:
    ended, output, errors = await run_command(*arguments, **bridges.settings)
    assert (ended, "Traceback" in errors) == (code, False), output + errors
    return output


async def reconciled(bridges: Bridges, *arguments: str, code: int = 0) -> dict[str, Any]:
    (found,) = json.loads(await run(bridges, "reconcile", "--json", *arguments, code=code))["endpoints"]
    return {
        key: value for key, value in found.items() if value and key in {"in_sync", "missing", "stale", "queued"}
    } | ({"not_compared": found["not_compared"]} if found["not_compared"] else {})


async def until_recorded(database: Database, state: str, number: int) -> None:
    """Wait until so many deliveries are in a state, or skipped for this reason."""
    counts = "select count(*) from cdc_bridge.delivery where coalesce(skip_reason, state) = %s"
    await until(lambda: database.value(counts, (state,)) == number, f"{number} {state}")


def skipped(database: Database, reason: str) -> int:
    number: int = database.value(f"select skipped_{reason} from cdc_bridge.endpoint")
    return number


async def test_backfill_sends_what_the_endpoint_gets_and_as_new_ones_if_it_gets_no_updates(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    book(database, "A", "B")
    book(database, "X", room="Terrace")
    book(database, "OLD", created="'2020-01-01'")
    narrow = NARROW | {"CDC_BRIDGE_ENDPOINT_START": "now", "CDC_BRIDGE_ENDPOINT_EVENTS": "created"}
    await bridges.start(**narrow)
    since = ("backfill", "default", "--since", "2026-01-01")
    dry = await run(bridges, *since, "--dry-run")
    assert dry == "Would queue for default: 2 reservations of 2. Nothing was queued.\n"
    await run(bridges, *since, "--wait")
    assert sorted(request.reservation_id for request in receiver.requests) == ["A", "B"]
    assert {request.headers["ce-type"] for request in receiver.requests} == {"reservation.created"}
    assert {tuple(request.json) for request in receiver.requests} == {("id", "adults")}
    await run(bridges, "backfill", "default", "--wait")
    assert sorted(request.reservation_id for request in receiver.requests) == ["A", "B", "OLD"]


async def test_reconcile_compares_an_endpoint_without_updates_by_what_was_created(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    await bridges.start(**NARROW, CDC_BRIDGE_ENDPOINT_EVENTS="created")
    book(database, "A", "B")
    book(database, "X", room="Terrace")
    await until_recorded(database, "delivered", 2)
    database.execute("update reservations set adults = 9, updated = now() where id = 'A'")
    await until(lambda: skipped(database, "event") == 1, "the update is skipped")
    assert await reconciled(bridges) == {"in_sync": 2}
    database.execute(
        UNCAPTURED.format("insert into reservations (id, cust_id, reference, room_name) values ('D', 'C', 1, 'Bar')")
    )
    assert await reconciled(bridges, "--repair", code=1) == {"in_sync": 2, "missing": 1, "queued": 1}
    await receiver.wait_for_delivered(3)
    assert receiver.delivered[-1].headers["ce-type"] == "reservation.created"


async def test_reconcile_does_not_miss_what_an_endpoint_without_new_ones_never_got(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    await bridges.start(**NARROW, CDC_BRIDGE_ENDPOINT_EVENTS="updated")
    book(database, "A", "B")
    await until(lambda: skipped(database, "event") == 2, "new ones are skipped")
    assert await reconciled(bridges) == {"not_compared": 2}
    database.execute("update reservations set adults = 9 where id = 'A'")
    await until_recorded(database, "delivered", 1)
    assert await reconciled(bridges) == {"in_sync": 1, "not_compared": 1}
    database.execute(UNCAPTURED.format("update reservations set adults = 5 where id = 'A'"))
    assert await reconciled(bridges, "--repair", code=1) == {"stale": 1, "not_compared": 1, "queued": 1}
    await receiver.wait_for_delivered(2)
    assert [request.json["adults"] for request in receiver.delivered] == [9, 5]
    told = await run(bridges, "reconcile")
    assert "not compared        1\n" in told


async def test_what_is_sent_by_hand_is_sent_unchanged_too_but_not_what_is_filtered(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    await bridges.start(**NARROW, CDC_BRIDGE_ENDPOINT_SKIP_UNCHANGED="true")
    book(database, "A")
    await until_recorded(database, "delivered", 1)
    database.execute("update reservations set notes = 'x' where id = 'A'")
    await until_recorded(database, "unchanged", 1)
    seq = database.value("select seq::text from cdc_bridge.delivery where skip_reason = 'unchanged'")
    for number, command in enumerate(
        (("delivery", "retry", seq), ("replay", "--reservation", "A"), ("backfill", "default", "--again")), 2
    ):
        await run(bridges, *command)
        await receiver.wait_for_delivered(number)
        await until(
            lambda: database.value("select count(*) from cdc_bridge.delivery where state = 'queued'") == 0, "recorded"
        )
    assert len({request.body for request in receiver.delivered}) == 1
    database.execute("update reservations set room_name = 'Terrace' where id = 'A'")
    await run(bridges, "replay", "--reservation", "A")
    # It is queued and then filtered; or not even queued, as the daemon would send it if it were wanted.
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery where state = 'queued'") == 0, "done")
    book(database, "B")
    assert [request.reservation_id for request in await receiver.wait_for_delivered(5)] == [*"AAAAB"]
    assert await reconciled(bridges) == {"in_sync": 1}
