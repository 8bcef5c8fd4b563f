"""The delivery log's statements read what they are about, and not all that is to be retried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.database import ServerDatabase
from cdc_bridge.model import Change, DeliveryState, EndpointId, Operation, ReservationId, Seq, SkipReason, Xid
from cdc_bridge.pipeline.delivery_log import DeliveryLog
from cdc_bridge.pipeline.delivery_log_writer import DeliveryLogWriter
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.pipeline.shared_position import SharedPosition
from cdc_bridge.sessions import Session, connect
from tests.support.databases import Database
from tests.support.plans import explained, most_rows_seen
from tests.support.registration import lease_of

T = TypeVar("T")

ENDPOINT = EndpointId(1)
RETRYING = 20_000
OCCUPIED = [ReservationId(f"R{number}") for number in range(RETRYING // 2)]


class OneConnection(ServerDatabase):
    """A daemon's database of one connection, whose plans are explained."""

    def __init__(self, connection: Session) -> None:
        self._connection = connection

    async def patiently(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        return await operation(self._connection)


async def open_delivery_log(connection: Session) -> DeliveryLog:
    lease = await lease_of(connection, connection, ENDPOINT)
    database = OneConnection(connection)
    return DeliveryLog(database, lease, DeliveryLogWriter(database, lease.registration, SharedPosition()))


@pytest.fixture
def many_retrying(database: Database) -> Database:
    """A delivery log with very many deliveries to retry, half of them of reservations that are occupied."""
    database.execute(
        "insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, "
        "failures, next_attempt_at) select 1, i, 'R' || i, 'U', now(), 'retrying', 1, 1, now() - interval '1 day' "
        "+ i * interval '1 second' from generate_series(0, %s - 1) as i",
        (RETRYING,),
    )
    database.execute("analyze cdc_bridge.delivery")
    return database


async def test_occupied_reservations_are_looked_up_by_hash(many_retrying: Database) -> None:
    async with await connect(many_retrying.url) as connection:
        delivery_log = await open_delivery_log(connection)
        plans = await explained(connection, as_daemon=True)
        due = await delivery_log.due_retries(OCCUPIED, 10)
        seconds = await delivery_log.seconds_until_next_due(OCCUPIED)
    assert [found.change.seq for found in due] == list(range(RETRYING // 2, RETRYING // 2 + 10))
    assert seconds is not None
    assert seconds < 0
    for plan in plans:
        assert "hashed SubPlan" in plan
        assert "Index Scan using delivery_due" in plan
        assert "Sort" not in plan


async def test_recording_looks_at_the_reservations_recorded_alone(many_retrying: Database) -> None:
    many_retrying.execute(
        "insert into cdc_bridge.endpoint (name, in_settings, url, headers, max_in_flight, latest_only, "
        "timeout_seconds, connect_timeout_seconds, position, cluster) "
        "values ('till', false, 'https://till.example', '{}', 1, false, 1, 1, '1:1:', 1)"
    )
    change = Change(Seq(RETRYING), OCCUPIED[7], Operation.UPDATED, many_retrying.value("select now()"))
    settled = InFlight(change, state=DeliveryState.SKIPPED, skip_reason=SkipReason.DELETED)
    async with await connect(many_retrying.url) as connection:
        delivery_log = await open_delivery_log(connection)
        plans = await explained(connection, as_daemon=True)
        await connection.execute("set auto_explain.log_analyze = on")
        plans.clear()
        await delivery_log.record([settled], Position(Snapshot(Xid(2), frozenset())))
    assert many_retrying.value("select state from cdc_bridge.delivery where seq = 7") == "skipped"
    assert max(map(most_rows_seen, plans)) < 10


async def test_endpoint_is_found_among_thousands_of_a_daemon_that_has_none_by_the_statistics(
    database: Database,
) -> None:
    database.execute(
        "insert into cdc_bridge.endpoint (name, in_settings, url, position, cluster) "
        "select 'till' || n, false, 'https://till.example', '1:1:', 1 from generate_series(1, 3000) as n"
    )
    database.execute("vacuum analyze cdc_bridge.endpoint")
    change = Change(Seq(1), ReservationId("R"), Operation.UPDATED, database.value("select now()"))
    settled = InFlight(change, state=DeliveryState.SKIPPED, skip_reason=SkipReason.DELETED)
    async with await connect(database.url) as connection:
        delivery_log = await open_delivery_log(connection)
        database.execute("update cdc_bridge.endpoint e set daemon_id = d.daemon_id from cdc_bridge.daemon d")
        plans = await explained(connection, as_daemon=True)
        await connection.execute("set auto_explain.log_analyze = on")
        plans.clear()
        await delivery_log.record([settled], Position(Snapshot(Xid(2), frozenset())))
    assert database.value("select skipped_deleted from cdc_bridge.endpoint where endpoint_id = 1") == 1
    assert max(map(most_rows_seen, plans)) < 10


async def test_due_retries_with_long_keys_are_few_and_at_least_one(database: Database) -> None:
    database.execute(
        "insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, "
        "failures, next_attempt_at) select 1, i, repeat('x', 150000 * (11 - i)) || i, 'U', now(), 'retrying', 1, 1, "
        "now() - interval '1 day' + i * interval '1 second' from generate_series(1, 10) as i"
    )
    found, occupied = list[list[int]](), list[ReservationId]()
    async with await connect(database.url) as connection:
        delivery_log = await open_delivery_log(connection)
        while due := await delivery_log.due_retries(occupied, 100):
            found.append([one.change.seq for one in due])
            occupied += [one.change.reservation_id for one in due]
    assert found == [[1], [2], [3], [4], [5, 6], [7, 8], [9, 10]]


@pytest.mark.parametrize(("length", "number"), [(10, 20), (100_000, None)])
async def test_reservations_with_newer_unread_changes_are_named_unless_their_keys_are_too_long(
    length: int, number: int | None, database: Database
) -> None:
    database.execute(
        "insert into cdc_bridge.endpoint (name, in_settings, url, position, cluster) "
        "values ('till', false, 'https://till.example', '1:1:', 1)"
    )
    database.execute(
        "insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, "
        "failures, next_attempt_at) select 1, -i, repeat('x', %s) || i, 'U', now(), 'retrying', 1, 1, now() "
        "from generate_series(1, 20) as i",
        (length,),
    )
    database.execute(
        "insert into cdc_bridge.change (reservation_id, operation, changed_at) select reservation_id, 'U', now() "
        "from cdc_bridge.delivery"
    )
    async with await connect(database.url) as connection:
        found = await (await open_delivery_log(connection)).with_newer_unread()
    assert (None if found is None else len(found)) == number
