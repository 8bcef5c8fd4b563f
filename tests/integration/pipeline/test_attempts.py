"""Which attempts the database has, how many of a delivery, how long, and what happens if they cannot be written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.database import Database as DaemonDatabase
from cdc_bridge.errors import LeaseLost
from cdc_bridge.model import Change, DeliveryState, EndpointId, Operation, ReservationId, Seq, SkipReason, Xid
from cdc_bridge.pipeline.delivery_log import DeliveryLog
from cdc_bridge.pipeline.delivery_log_writer import DeliveryLogWriter
from cdc_bridge.pipeline.in_flight import InFlight, KeptAttempt
from cdc_bridge.pipeline.shared_position import SharedPosition
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed
from tests.support.databases import Database
from tests.support.registration import lease_of

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
REACHED = Position(Snapshot(Xid(5), frozenset()))
ADD = """
insert into cdc_bridge.endpoint (name, in_settings, url, position, cluster)
values ('till', false, 'https://till.example', '1:1:', (select system_identifier from pg_control_system()))
returning endpoint_id
"""
NUMBERS = "select coalesce(array_agg(number order by number), '{}') from cdc_bridge.attempt where seq = %s"
STATES = "select array_agg(state order by seq) from cdc_bridge.delivery"
AGE = "update cdc_bridge.attempt set recorded_at = now() - %s::interval"
COUNT = "select count(*) from cdc_bridge.attempt"


@pytest.fixture
async def delivery_log(database: Database) -> AsyncIterator[DeliveryLog]:
    opened = DaemonDatabase(database.bridge_url)
    await opened.open()
    session = await opened.connect()
    endpoint_id = EndpointId(database.value(ADD))
    lease = await lease_of(session, session, endpoint_id)
    served = opened.of_server(session.incarnation)
    yield DeliveryLog(served, lease, DeliveryLogWriter(served, lease.registration, SharedPosition()))
    await session.close()
    await opened.close()


def change(seq: int = 1, reservation: str = "R") -> Change:
    return Change(Seq(seq), ReservationId(reservation), Operation.UPDATED, NOW)


def attempts(numbers: Sequence[int], seq: int = 1, response: str | None = None) -> list[KeptAttempt]:
    """Return failed attempts of a delivery, a second apart."""
    failed = Failed(422, "HTTP 422 Unprocessable Entity")
    return [
        KeptAttempt(
            change(seq),
            number,
            Attempt(
                "1-ab", NOW + timedelta(seconds=number), 0.25, failed, "bytes behind its end", "127.0.0.1:443",
                "HTTP/1.1, TLSv1.3", response,
            ),
        )
        for number in numbers
    ]  # fmt: skip


def settled(seq: int = 1, state: DeliveryState = DeliveryState.DELIVERED, reservation: str = "R") -> InFlight:
    return InFlight(change(seq, reservation), attempts=1, state=state)


async def test_attempts_of_a_delivery_that_is_not_in_the_log_are_kept(
    delivery_log: DeliveryLog, database: Database
) -> None:
    await delivery_log.record([], REACHED, attempts([1], response="no such room"))
    ((*row,),) = database.execute("table cdc_bridge.attempt")
    assert row[1:-1] == [
        1, 1, "R", "U", NOW, NOW + timedelta(seconds=1), 0.25, 422, "HTTP 422 Unprocessable Entity",
        "bytes behind its end", "127.0.0.1:443", "HTTP/1.1, TLSv1.3", "1-ab", "no such room",
    ]  # fmt: skip
    assert database.value(STATES) is None


async def test_first_attempts_and_last_ones_are_kept(delivery_log: DeliveryLog, database: Database) -> None:
    for number in range(1, 41):
        await delivery_log.record([], REACHED, attempts([number]))
        assert database.value(COUNT) <= 25
    assert database.value(NUMBERS, (1,)) == [*range(1, 6), *range(21, 41)]
    await delivery_log.record([], REACHED, attempts(range(41, 111)))
    await delivery_log.record([], REACHED, attempts([111]))
    assert database.value(NUMBERS, (1,)) == [*range(1, 6), *range(92, 112)]


async def test_numbers_go_on_under_a_daemon_that_counts_from_the_beginning(
    delivery_log: DeliveryLog, database: Database
) -> None:
    await delivery_log.record([], REACHED, attempts([1, 2, 3]))
    later = [replace(kept, number=n) for n, kept in enumerate(attempts([11, 12]), start=1)]
    await delivery_log.record([], REACHED, later)
    assert database.value(NUMBERS, (1,)) == [1, 2, 3, 4, 5]
    await delivery_log.record([], REACHED, attempts([40]))  # of a retry, whose attempts the delivery log counts
    assert database.value(NUMBERS, (1,)) == [1, 2, 3, 4, 5, 40]


async def test_attempt_that_is_written_twice_is_there_once(delivery_log: DeliveryLog, database: Database) -> None:
    for _ in range(2):
        await delivery_log.record([], REACHED, attempts([1, 2]))
    assert database.value(NUMBERS, (1,)) == [1, 2]


async def test_daemon_that_lost_the_lease_writes_none(delivery_log: DeliveryLog, database: Database) -> None:
    database.execute("update cdc_bridge.endpoint set fencing_token = fencing_token + 1")
    with pytest.raises(LeaseLost):
        await delivery_log.record([settled()], REACHED, attempts([1]))
    database.execute("update cdc_bridge.endpoint set fencing_token = fencing_token - 1")
    database.execute("update cdc_bridge.daemon set alive_until = '-infinity'")
    with pytest.raises(LeaseLost):
        await delivery_log.record([settled()], REACHED, attempts([1]))
    assert database.value(COUNT) == 0


async def test_skipped_delivery_that_was_attempted_gets_a_row(delivery_log: DeliveryLog, database: Database) -> None:
    gone = settled(1, DeliveryState.SKIPPED)
    never_sent = settled(2, DeliveryState.SKIPPED)
    gone.skip_reason = never_sent.skip_reason = SkipReason.DELETED
    await delivery_log.record([gone, never_sent], REACHED, attempts([1]))
    assert database.execute("select seq from cdc_bridge.delivery") == [(1,)]


LOCKS = {
    "the table": "lock table cdc_bridge.attempt in share mode",
    "its rows": "select from cdc_bridge.attempt for update",
}


@pytest.mark.parametrize("what", LOCKS)
async def test_lock_on_attempts_keeps_no_delivery_from_being_recorded(
    what: str, delivery_log: DeliveryLog, database: Database
) -> None:
    await delivery_log.record([], REACHED, attempts(range(1, 26)))
    with psycopg.connect(database.url) as somebody:
        somebody.execute(LOCKS[what].encode())
        await delivery_log.record([settled(1)], REACHED, attempts([26]))
        await delivery_log.record([settled(2)], REACHED, attempts([1], seq=2))
    assert database.value(STATES) == ["delivered", "delivered"]
    # Of rows that are locked none is deleted, and further ones are written all the same.
    assert database.value(NUMBERS, (1,)) == [*range(1, 26 if what == "the table" else 27)]
    assert database.value(NUMBERS, (2,)) == ([] if what == "the table" else [1])
    if what == "its rows":
        await delivery_log.record([settled(1)], REACHED, attempts([27]))
        assert database.value(NUMBERS, (1,)) == [*range(1, 6), *range(8, 28)]


async def test_trigger_that_rejects_attempts_keeps_no_delivery_from_being_recorded(
    delivery_log: DeliveryLog, database: Database
) -> None:
    database.execute("alter table cdc_bridge.attempt add check (status <> 422)")
    await delivery_log.record([settled(1)], REACHED, attempts([1]))
    assert (database.value(STATES), database.value(COUNT)) == (["delivered"], 0)


async def test_attempts_are_pruned_with_their_delivery_and_no_earlier(
    delivery_log: DeliveryLog, database: Database
) -> None:
    states = {1: DeliveryState.DELIVERED, 2: DeliveryState.RETRYING, 3: DeliveryState.DEAD}
    await delivery_log.record(
        [settled(seq, state, f"R{seq}") for seq, state in states.items()],
        REACHED,
        [one for seq in states for one in attempts([1, 2], seq=seq)],
    )
    aged = "update cdc_bridge.delivery set changed_at = now() - {0}::interval, recorded_at = now() - {0}::interval"
    database.execute(aged.format("'8 days'"))
    database.execute("call cdc_bridge.prune()")
    assert [database.value(NUMBERS, (seq,)) for seq in states] == [[], [1, 2], [1, 2]]
    database.execute(aged.format("'31 days'"))
    database.execute("call cdc_bridge.prune()")
    assert [database.value(NUMBERS, (seq,)) for seq in states] == [[], [1, 2], []]
    database.execute("delete from cdc_bridge.endpoint")
    database.execute("call cdc_bridge.prune()")
    assert database.value(COUNT) == 0


async def test_attempts_without_a_delivery_are_pruned_when_the_last_of_them_is_old(
    delivery_log: DeliveryLog, database: Database
) -> None:
    await delivery_log.record([], REACHED, [*attempts([1, 2, 3]), *attempts([1, 2], seq=2)])
    database.execute(AGE, ("31 days",))
    database.execute("update cdc_bridge.attempt set recorded_at = now() where seq = 2 and number = 2")
    database.execute("call cdc_bridge.prune()")
    assert database.value(NUMBERS, (1,)) == []
    assert database.value(NUMBERS, (2,)) == [1, 2]


async def test_attempts_are_pruned_page_by_page(delivery_log: DeliveryLog, database: Database) -> None:
    # All were recorded at one time, and some of each page stay.
    await delivery_log.record([settled(seq) for seq in range(1, 400, 2)], REACHED)
    for seq in range(1, 401):
        await delivery_log.record([], REACHED, attempts(range(1, 6), seq=seq))
    database.execute(AGE, ("31 days",))
    after: tuple[object, ...] = ("-infinity", 0, 0, 0)
    pages, finished = 0, False
    while not finished:
        statement = "select * from cdc_bridge.prune_attempts('30 days', %s::timestamptz, %s, %s, %s, 300)"
        ((*after, _, finished),) = database.execute(statement, after)  # type: ignore[assignment]
        pages += 1
    assert pages == 7
    assert database.value(COUNT) == 1000
    assert database.value("select bool_and(seq %% 2 = 1) from cdc_bridge.attempt", ()) is True


@pytest.mark.parametrize("retention", ["7 days", "100 years"])
async def test_responses_are_removed_after_a_day_whatever_the_retention(
    retention: str, delivery_log: DeliveryLog, database: Database
) -> None:
    await delivery_log.record([settled()], REACHED, attempts([1, 2], response="Mr Featherstonehaugh is unknown"))
    database.execute("update cdc_bridge.attempt set recorded_at = now() - number * interval '23 hours'")
    database.execute("call cdc_bridge.prune(%s::interval, %s::interval)", (retention, retention))
    kept = database.execute("select number, response is not null from cdc_bridge.attempt order by number")
    assert kept == [(1, True), (2, False)]


async def test_erase_removes_all_attempts_of_a_reservation(delivery_log: DeliveryLog, database: Database) -> None:
    await delivery_log.record(
        [settled(1), settled(2, DeliveryState.RETRYING), settled(4, reservation="OTHER")],
        REACHED,
        [one for seq in (1, 2, 3) for one in attempts([1, 2], seq=seq, response="R")],
    )
    await delivery_log.record([], REACHED, [replace(attempts([1])[0], change=change(4, "OTHER"))])
    database.execute("select cdc_bridge.erase('R')")
    assert database.execute("select seq from cdc_bridge.attempt") == [(4,)]


async def test_response_with_any_characters_is_kept(delivery_log: DeliveryLog, database: Database) -> None:
    text = "\x01\x1b[31m\ufffd€\U0001f37d\n\"\\u0041'--"
    await delivery_log.record([], REACHED, attempts([1], response=text))
    assert database.value("select response from cdc_bridge.attempt") == text


async def test_successful_attempt_has_no_reason(delivery_log: DeliveryLog, database: Database) -> None:
    attempt = Attempt("1-ab", NOW, 0.1, Delivered(204))
    await delivery_log.record([settled()], REACHED, [KeptAttempt(change(), 2, attempt)])
    assert database.execute("select number, status, reason from cdc_bridge.attempt") == [(2, 204, None)]


def test_reader_sees_all_but_responses(database: Database) -> None:
    columns = "select attname from pg_attribute where attrelid = 'cdc_bridge.attempt'::regclass and attnum > 0"
    may = "select has_column_privilege('cdc_bridge_reader', 'cdc_bridge.attempt', %s, 'select')"
    names = [name for (name,) in database.execute(columns)]
    assert [name for name in names if not database.value(may, (name,))] == ["response"]
