"""What the delivery log keeps of skipped deliveries, and what it knows of the body that an endpoint has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.database import Database as DaemonDatabase
from cdc_bridge.model import Change, DeliveryState, EndpointId, History, Operation, ReservationId, Seq, SkipReason, Xid
from cdc_bridge.pipeline.delivery_log import DeliveryLog
from cdc_bridge.pipeline.delivery_log_writer import DeliveryLogWriter
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.pipeline.shared_position import SharedPosition
from cdc_bridge.transport.message import message_id, sequence_of
from tests.support.databases import Database
from tests.support.registration import lease_of

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HISTORY = History(1_780_000_000)
BODY, OTHER = b"a body", b"another body"
HASH = message_id(0, BODY).partition("-")[2]
ADD = """
insert into cdc_bridge.endpoint (name, in_settings, url, position, cluster)
values ('till', false, 'https://till.example', '1:1:', (select system_identifier from pg_control_system()))
returning endpoint_id
"""
LOG = """
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, skip_reason, attempts, failures, message_id
)
values ((select endpoint_id from cdc_bridge.endpoint), %s, 'R', 'U', now(), %s, %s, %s, 0, %s)
"""
COUNTS = "select skipped_deleted, skipped_filtered, skipped_event, skipped_unchanged from cdc_bridge.endpoint"


def log(
    database: Database,
    seq: int,
    state: str,
    *,
    attempts: int = 0,
    skip_reason: str | None = None,
    body: bytes = BODY,
    history: History = HISTORY,
) -> None:
    """Have a delivery in the log."""
    id_ = message_id(sequence_of(history, Seq(seq)), body) if attempts else None
    database.execute(LOG, (seq, state, skip_reason, attempts, id_))


def skipped(seq: int, reservation: str, reason: SkipReason) -> InFlight:
    delivery = InFlight(Change(Seq(seq), ReservationId(reservation), Operation.UPDATED, NOW))
    delivery.state, delivery.skip_reason = DeliveryState.SKIPPED, reason
    return delivery


def states(database: Database) -> dict[int, tuple[str, str | None]]:
    rows = database.execute("select seq, state, skip_reason from cdc_bridge.delivery order by seq")
    return {seq: (state, reason) for seq, state, reason in rows}


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


REACHED = Position(Snapshot(Xid(5), frozenset()))


@pytest.mark.parametrize("reason", SkipReason)
async def test_what_an_endpoint_never_got_costs_no_row_and_is_counted(
    reason: SkipReason, delivery_log: DeliveryLog, database: Database
) -> None:
    await delivery_log.record([skipped(1, "R", reason), skipped(2, "S", reason)], REACHED)
    await delivery_log.record([skipped(3, "R", reason)], REACHED)
    assert states(database) == {}
    assert database.execute(COUNTS) == [tuple(3 if each is reason else 0 for each in SkipReason)]


@pytest.mark.parametrize("reason", SkipReason)
async def test_what_is_skipped_of_a_reservation_that_it_has_is_in_the_log(
    reason: SkipReason, delivery_log: DeliveryLog, database: Database
) -> None:
    log(database, 1, "delivered", attempts=1)
    await delivery_log.record([skipped(2, "R", reason), skipped(3, "S", reason)], REACHED)
    assert states(database) == {1: ("delivered", None), 2: ("skipped", reason.value)}


@pytest.mark.parametrize("reason", SkipReason)
async def test_older_pending_deliveries_are_skipped_with_the_newest_if_there_is_nothing_to_send(
    reason: SkipReason, delivery_log: DeliveryLog, database: Database
) -> None:
    log(database, 1, "retrying", attempts=2)
    await delivery_log.record([skipped(2, "R", reason)], REACHED)
    stays = reason in {SkipReason.EVENT, SkipReason.UNCHANGED}
    assert states(database)[1] == (("retrying", None) if stays else ("skipped", reason.value))


async def test_superseded_change_leaves_what_was_queued_by_hand_to_the_one_that_supersedes_it(
    delivery_log: DeliveryLog, database: Database
) -> None:
    """Else the newest change would pass for unchanged, and nothing would be sent of what somebody queued."""
    log(database, 1, "delivered", attempts=1)
    log(database, 2, "queued")
    superseded = InFlight(Change(Seq(3), ReservationId("R"), Operation.UPDATED, NOW), state=DeliveryState.SUPERSEDED)
    await delivery_log.record([superseded], REACHED)
    assert states(database)[2] == ("queued", None)
    assert await body_of_r(delivery_log) is None


async def test_delivery_that_was_queued_by_hand_and_is_skipped_says_so(
    delivery_log: DeliveryLog, database: Database
) -> None:
    log(database, 7, "queued")
    await delivery_log.record([skipped(7, "R", SkipReason.FILTERED)], REACHED)
    assert states(database) == {7: ("skipped", "filtered")}


async def body_of_r(delivery_log: DeliveryLog) -> str | None:
    return (await delivery_log.last_bodies([ReservationId("R"), ReservationId("S")], HISTORY)).get(ReservationId("R"))


async def test_body_delivered_last_is_known(delivery_log: DeliveryLog, database: Database) -> None:
    assert await body_of_r(delivery_log) is None
    log(database, 1, "delivered", attempts=1, body=OTHER)
    log(database, 2, "delivered", attempts=3)
    assert await body_of_r(delivery_log) == HASH


async def test_what_was_passed_over_without_a_request_does_not_hide_it(
    delivery_log: DeliveryLog, database: Database
) -> None:
    log(database, 1, "delivered", attempts=1)
    log(database, 2, "superseded")
    log(database, 3, "skipped", skip_reason="unchanged")
    assert await body_of_r(delivery_log) == HASH


@pytest.mark.parametrize(
    ("state", "attempts", "skip_reason"),
    [
        ("retrying", 1, None),
        ("queued", 0, None),
        ("dead", 9, None),
        ("superseded", 1, None),
        ("skipped", 2, "unchanged"),
        ("skipped", 0, "filtered"),
        ("skipped", 0, "deleted"),
        ("skipped", 0, "event"),
    ],
)
async def test_body_is_unknown_if_anything_else_came_later(
    state: str, attempts: int, skip_reason: str | None, delivery_log: DeliveryLog, database: Database
) -> None:
    log(database, 1, "delivered", attempts=1)
    log(database, 2, state, attempts=attempts, skip_reason=skip_reason, body=OTHER)
    assert await body_of_r(delivery_log) is None


async def test_body_of_an_earlier_history_is_unknown(delivery_log: DeliveryLog, database: Database) -> None:
    """A fail-over may have lost what was delivered after it."""
    log(database, 1, "delivered", attempts=1, history=History(HISTORY - 1))
    assert await body_of_r(delivery_log) is None
