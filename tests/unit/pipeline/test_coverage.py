from __future__ import annotations

from datetime import UTC, datetime

from cdc_bridge.capture.position import Snapshot
from cdc_bridge.model import Change, Delivery, Operation, ReservationId, Seq, Xid
from cdc_bridge.pipeline.coverage import Coverage

SEEN = Snapshot(Xid(20), frozenset({Xid(15)}))


def delivery(reservation: str, xid: int | None) -> Delivery:
    change = Change(Seq(1), ReservationId(reservation), Operation.UPDATED, datetime.now(UTC))
    return Delivery(change, xid=None if xid is None else Xid(xid))


def test_change_that_the_body_held_is_covered_and_no_other() -> None:
    coverage = Coverage(limit=10)
    assert not coverage.covers(delivery("R", 10))
    coverage.accepted(ReservationId("R"), SEEN)
    assert coverage.covers(delivery("R", 10))
    assert not coverage.covers(delivery("R", 15)), "it had not committed when the body was loaded"
    assert not coverage.covers(delivery("R", 20)), "it had not begun"
    assert not coverage.covers(delivery("OTHER", 10))


def test_delivery_from_the_ledger_is_never_covered_as_its_transaction_is_not_known() -> None:
    coverage = Coverage(limit=10)
    coverage.accepted(ReservationId("R"), SEEN)
    assert not coverage.covers(delivery("R", None))


def test_what_was_called_longest_ago_is_forgotten() -> None:
    coverage = Coverage(limit=2)
    for reservation in ("A", "B", "A", "C"):
        coverage.accepted(ReservationId(reservation), SEEN)
    assert [coverage.covers(delivery(reservation, 1)) for reservation in "ABC"] == [True, False, True]
