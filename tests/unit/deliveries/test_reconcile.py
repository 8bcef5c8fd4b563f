from __future__ import annotations

import pytest

from cdc_bridge.deliveries.reconcile import Finding, LastDeliveries, ReconcileReport, SyncState, compare
from cdc_bridge.model import DeliveryState, ReservationId, Seq


def last(state: DeliveryState, delivered_hash: str | None) -> LastDeliveries:
    return LastDeliveries(Seq(1), state, delivered_hash, ever_delivered=delivered_hash is not None)


@pytest.mark.parametrize(
    ("known", "unread", "expected"),
    [
        (None, False, SyncState.MISSING),
        (None, True, SyncState.PENDING),
        (last(DeliveryState.RETRYING, None), False, SyncState.PENDING),
        (last(DeliveryState.RETRYING, "other"), False, SyncState.PENDING),
        (last(DeliveryState.DELIVERED, "now"), False, SyncState.IN_SYNC),
        (last(DeliveryState.DELIVERED, "now"), True, SyncState.IN_SYNC),
        (last(DeliveryState.SUPERSEDED, "now"), False, SyncState.IN_SYNC),
        (last(DeliveryState.DEAD, "now"), False, SyncState.IN_SYNC),
        (last(DeliveryState.DELIVERED, "other"), False, SyncState.STALE),
        (last(DeliveryState.DELIVERED, "other"), True, SyncState.PENDING),
        (last(DeliveryState.SKIPPED, "other"), False, SyncState.STALE),
        (last(DeliveryState.SKIPPED, None), False, SyncState.MISSING),
        (last(DeliveryState.DEAD, "other"), False, SyncState.DEAD),
        (last(DeliveryState.DEAD, None), True, SyncState.PENDING),
        (LastDeliveries(Seq(1), DeliveryState.SUPERSEDED, None, ever_delivered=True), False, SyncState.STALE),
    ],
)
def test_comparison_with_the_last_delivery(
    known: LastDeliveries | None,
    unread: bool,  # noqa: FBT001
    expected: SyncState,
) -> None:
    assert compare(known, "now", unread=unread) is expected


def test_report_counts_each_state_and_keeps_some_ids_of_what_is_out_of_sync() -> None:
    report = ReconcileReport(keep_ids=2)
    assert report.in_sync
    states = [SyncState.IN_SYNC, SyncState.PENDING, SyncState.STALE, SyncState.STALE, SyncState.STALE]
    report.add([Finding(ReservationId(f"R{n}"), state, n) for n, state in enumerate(states)])
    assert (report.compared, report.counts[SyncState.STALE], report.in_sync) == (5, 3, False)
    assert report.ids == {
        SyncState.MISSING: [],
        SyncState.STALE: ["R2", "R3"],
        SyncState.DEAD: [],
        SyncState.UNREADABLE: [],
    }
