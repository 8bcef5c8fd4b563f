"""Deliveries that wait in the change log are listed like the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.deliveries import queued as module
from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter, list_deliveries
from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.lookup import DeliveryId, find_any_delivery
from cdc_bridge.deliveries.sessions import CommandSessions
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import DeliveryState, Operation, ReservationId
from tests.support.bridge import run_command
from tests.support.databases import Database
from tests.support.payloads import define_payload

T = TypeVar("T")

ADD = """
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, timeout_seconds, position, cluster, "only", payload, events
)
select %(name)s, false, 'https://till.example', '{}', 1, coalesce(%(position)s::pg_snapshot, pg_current_snapshot()),
  system_identifier, %(only)s, %(payload)s, %(events)s
from pg_control_system()
returning endpoint_id
"""
RECORD = """
insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures)
select e.endpoint_id, c.seq, c.reservation_id, c.operation, c.changed_at, 'delivered', 1, 0
from cdc_bridge.change c, cdc_bridge.endpoint e
where e.name = %s and c.seq = any (%s)
"""


@pytest.fixture(autouse=True)
def guest(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


def add(
    database: Database, name: str, *only: str, position: str | None = None, payload: str = "reservation",
    events: str = "both",
) -> None:  # fmt: skip
    parameters = {"name": name, "position": position, "only": list(only), "payload": payload, "events": events}
    database.execute(ADD, parameters)


def reserve(database: Database, *ids: str, reference: int = 0) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        for id_ in ids:
            connection.execute(
                "insert into reservations (id, cust_id, reference) values (%s, 'C', %s)", (id_, reference)
            )


def change(database: Database, *ids: str) -> None:
    for id_ in ids:
        database.execute("update reservations set duration = coalesce(duration, 0) + 1 where id = %s", (id_,))


async def listed(database: Database, limit: int = 1000, **wanted: Any) -> list[LoggedDelivery]:
    found: list[LoggedDelivery] = []
    after: Cursor | None = None
    while True:
        page = await list_deliveries(CommandSessions(database.bridge_url), DeliveryFilter(**wanted), limit, after)
        assert len(page.deliveries) <= limit
        found += page.deliveries
        if page.next is None:
            return found
        after = Cursor.parse(str(page.next))


def ids(deliveries: Sequence[LoggedDelivery]) -> list[str]:
    return [delivery.reservation_id for delivery in deliveries]


@pytest.mark.parametrize(("limit", "at_once"), [(1, 500), (2, 1), (3, 2), (1000, 500), (1000, 5)])
async def test_backlog_is_listed_newest_first_among_what_was_delivered(
    database: Database, monkeypatch: pytest.MonkeyPatch, limit: int, at_once: int
) -> None:
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", at_once)
    add(database, "till")
    add(database, "bar")
    reserve(database, *(f"R{number}" for number in range(12)))
    seqs = [seq for (seq,) in database.execute("select seq from cdc_bridge.change order by seq")]
    database.execute(RECORD, ("till", [seqs[0], seqs[5], seqs[11]]))
    found = await listed(database, limit)
    assert [(one.seq, one.endpoint) for one in found] == [(seq, name) for seq in seqs[::-1] for name in ("till", "bar")]
    of_till = [one for one in found if one.endpoint == "till"]
    delivered = {one.seq for one in of_till if one.state is DeliveryState.DELIVERED}
    assert delivered == {seqs[0], seqs[5], seqs[11]}
    waiting = next(one for one in of_till if one.seq == seqs[1])
    assert (waiting.state, waiting.attempts, waiting.recorded_at) == (DeliveryState.QUEUED, 0, None)
    assert [one.seq for one in await listed(database, limit, endpoint="till", states=[DeliveryState.QUEUED])] == [
        seq for seq in seqs[::-1] if seq not in delivered
    ]
    assert {one.seq for one in await listed(database, limit, states=[DeliveryState.DELIVERED])} == delivered


async def test_nothing_waits_that_is_before_the_position_or_of_another_cluster(database: Database) -> None:
    reserve(database, "before")
    add(database, "till")
    reserve(database, "after")
    assert ids(await listed(database)) == ["after"]
    database.execute("update cdc_bridge.endpoint set cluster = 1")
    assert ids(await listed(database)) == []
    assert ids(await listed(database, endpoint="till")) == []


async def test_transaction_that_was_open_at_the_position_waits_and_one_that_had_ended_does_not(
    database: Database,
) -> None:
    with psycopg.connect(database.url) as writer:
        writer.execute("insert into reservations (id, cust_id, reference) values ('open', 'C', 0)")
        reserve(database, "ended")
        add(database, "till")
        writer.commit()
    reserve(database, "later")
    assert ids(await listed(database)) == ["later", "open"]


async def test_only_the_rest_of_a_transaction_waits_that_was_read_in_part(database: Database) -> None:
    add(database, "till")
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, 9) as n"
    )
    database.execute(
        "update cdc_bridge.endpoint e set place_xid = c.xid, place_seq = c.seq "
        "from cdc_bridge.change c where c.reservation_id = 'R6'"
    )
    assert ids(await listed(database, 2)) == ["R9", "R8", "R7"]


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_changes_of_one_reservation_in_one_transaction_are_one(
    database: Database, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(module, "_FIRST_STEP", 2)
    monkeypatch.setattr(module, "_LARGEST_STEP", 2)
    add(database, "till")
    with psycopg.connect(database.url) as writer:
        for id_ in ("A", "B"):
            writer.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 0)", (id_,))
        for id_ in ("B", "A", "A", "B"):
            writer.execute("update reservations set duration = coalesce(duration, 0) + 1 where id = %s", (id_,))
        writer.commit()
    change(database, "A")
    found = await listed(database, limit)
    assert ids(found) == ["A", "B", "A"]
    first, second = (seq for (seq,) in database.execute("select seq from cdc_bridge.change order by seq limit 2"))
    assert [one.seq for one in found[1:]] == [second, first]


async def test_endpoint_with_conditions_gets_what_meets_them(database: Database) -> None:
    define_payload(database, 'select r.*, r.reference as "@restaurant" from {reservation} r', "restaurant")
    for number in range(3):
        add(database, f"e{number}", f"@restaurant={number}", payload="restaurant")
    add(database, "unfit", "@nothing=1", payload="restaurant")
    for number in range(4):
        reserve(database, f"R{number}-1", f"R{number}-2", reference=number)
    assert ids(await listed(database, endpoint="e1")) == ["R1-2", "R1-1"]
    found = {(one.endpoint, one.reservation_id) for one in await listed(database, 3) if one.endpoint != "unfit"}
    assert found == {(f"e{number}", f"R{number}-{part}") for number in range(3) for part in (1, 2)}


async def test_endpoint_waits_for_no_change_that_it_does_not_get(database: Database) -> None:
    add(database, "all")
    add(database, "created", events="created")
    add(database, "updated", events="updated")
    reserve(database, "R")
    change(database, "R")
    found = [(one.endpoint, one.operation) for one in await listed(database)]
    created, updated = Operation.CREATED, Operation.UPDATED
    assert found == [("all", updated), ("updated", updated), ("all", created), ("created", created)]


async def test_filters_by_reservation_and_time(database: Database) -> None:
    add(database, "till")
    reserve(database, "A", "B")
    change(database, "A", "B", "A")
    assert ids(await listed(database, reservation_id=ReservationId("A"))) == ["A", "A", "A"]
    times = [at for (at,) in database.execute("select changed_at from cdc_bridge.change order by seq")]
    assert ids(await listed(database, since=times[2], until=times[4])) == ["B", "A"]


async def test_first_change_of_a_reservation_in_a_transaction_is_the_one_that_is_asked_for(database: Database) -> None:
    add(database, "till")
    with psycopg.connect(database.url) as writer:
        writer.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 0)")
        writer.execute("update reservations set duration = 1")
        writer.commit()
    (_, first_at), (second, second_at) = database.execute("select seq, changed_at from cdc_bridge.change order by seq")
    assert ids(await listed(database, since=first_at)) == ["R"]
    assert ids(await listed(database, since=second_at)) == []
    with pytest.raises(BridgeError, match="has no delivery"):
        await find_any_delivery(CommandSessions(database.bridge_url), DeliveryId(second, None), "till")


@pytest.mark.parametrize("later", [0, 20])
async def test_one_in_the_middle_of_a_large_transaction_is_shown(database: Database, later: int) -> None:
    add(database, "till")
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, 12000) n"
    )
    reserve(database, *(f"L{number}" for number in range(later)))
    for wanted in ("R1", "R6000", "R12000"):
        seq = database.value("select seq from cdc_bridge.change where reservation_id = %s", (wanted,))
        found = await find_any_delivery(CommandSessions(database.bridge_url), DeliveryId(seq, None), "till")
        assert found.reservation_id == wanted


async def test_search_stops_and_goes_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_AT", 3)
    monkeypatch.setattr(module, "_MOST_STEPS", 2)
    add(database, "till")
    reserve(database, "wanted", *(f"R{number}" for number in range(20)))
    filter_ = DeliveryFilter(reservation_id=ReservationId("wanted"))
    page = await list_deliveries(CommandSessions(database.bridge_url), filter_, 10)
    assert page.deliveries == []
    assert page.next is not None
    assert ids(await listed(database, 10, reservation_id=ReservationId("wanted"))) == ["wanted"]


async def test_row_that_cannot_be_read_hides_nothing(database: Database) -> None:
    define_payload(database, 'select r.*, 1 / r.reference as "@restaurant" from {reservation} r', "restaurant")
    add(database, "till", "@restaurant=1", payload="restaurant")
    reserve(database, "good", reference=1)
    reserve(database, "bad", reference=0)
    assert set(ids(await listed(database))) == {"good", "bad"}


@pytest.mark.parametrize("others", [0, 300])
async def test_one_that_waits_is_shown(database: Database, others: int) -> None:
    add(database, "till")
    reserve(database, "wanted", *(f"R{number}" for number in range(others)))
    sessions = CommandSessions(database.bridge_url)
    seq = database.value("select seq from cdc_bridge.change where reservation_id = 'wanted'")
    delivery = await find_any_delivery(sessions, DeliveryId(seq, None), None)
    assert (delivery.reservation_id, delivery.state, delivery.is_newest) == ("wanted", DeliveryState.QUEUED, True)
    with pytest.raises(BridgeError, match=f"has no delivery {seq + 1000}"):
        await find_any_delivery(sessions, DeliveryId(seq + 1000, None), "till")
    with pytest.raises(BridgeError, match="there is no endpoint bar"):
        await find_any_delivery(sessions, DeliveryId(seq, None), "bar")
    add(database, "bar", position="1:1:")
    with pytest.raises(BridgeError, match="is queued for several endpoints"):
        await find_any_delivery(sessions, DeliveryId(seq, None), None)


@dataclass(frozen=True, slots=True)
class RecordedAfterOneRead(CommandSessions):
    """Somebody records deliveries once the first reading found none."""

    record: Callable[[], object]

    async def read(self, operation: Callable[[AsyncConnection[TupleRow]], Coroutine[Any, Any, T]]) -> T:
        try:
            return await CommandSessions.read(self, operation)
        finally:
            self.record()


async def test_one_that_is_recorded_while_it_is_looked_for_is_shown(database: Database) -> None:
    add(database, "till")
    reserve(database, "wanted")
    seq = database.value("select seq from cdc_bridge.change")

    def record() -> None:
        if not database.value("select count(*) from cdc_bridge.delivery"):
            database.execute(RECORD, ("till", [seq]))

    sessions = RecordedAfterOneRead(database.bridge_url, record)
    found = await find_any_delivery(sessions, DeliveryId(seq, None), None)
    assert found.state is DeliveryState.DELIVERED


async def test_one_in_a_transaction_that_began_long_before_is_shown(database: Database) -> None:
    add(database, "till")
    with psycopg.connect(database.url) as writer:
        writer.execute("insert into reservations (id, cust_id, reference) values ('first', 'C', 0)")
        reserve(database, *(f"R{number}" for number in range(100)))
        writer.execute("insert into reservations (id, cust_id, reference) values ('late', 'C', 0)")
        writer.commit()
    sessions = CommandSessions(database.bridge_url)
    for id_, seq in database.execute(
        "select reservation_id, seq from cdc_bridge.change where seq % 25 = 1 or reservation_id = 'late'"
    ):
        found = await find_any_delivery(sessions, DeliveryId(seq, None), "till")
        assert found.reservation_id == id_


async def test_commands_show_what_waits_for_a_paused_endpoint(database: Database) -> None:
    settings = {"CDC_BRIDGE_DATABASE_URL": database.bridge_url}
    add(database, "till")
    database.execute("update cdc_bridge.endpoint set paused_at = now()")
    reserve(database, *(f"R{number}" for number in range(12)))
    code, output, errors = await run_command("deliveries", "--endpoint", "till", **settings)
    assert (code, errors) == (0, "")
    assert [line.split()[2] for line in output.splitlines()[1:]] == [f"R{number}" for number in reversed(range(12))]
    _, output, _ = await run_command("deliveries", "--limit", "5", "--json", **settings)
    page = json.loads(output)
    assert [one["state"] for one in page["deliveries"]] == ["queued"] * 5
    code, output, _ = await run_command("delivery", "show", str(page["deliveries"][0]["seq"]), **settings)
    assert code == 0
    assert "queued: it is in the change log, and is sent when its turn comes" in output
