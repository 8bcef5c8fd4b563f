from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cdc_bridge.demo.bookings import Committed
from cdc_bridge.demo.summary import summarise
from cdc_bridge.vendor.receive.receiver import ReceivedRequest

AT = datetime(2026, 2, 22, 22, 30, tzinfo=UTC)


def second(number: float) -> datetime:
    return AT + timedelta(seconds=number)


def received(number: int, at: datetime) -> ReceivedRequest:
    return ReceivedRequest(
        at, number, "reservation.created", f"R{number}", str(number), f"m{number}", "valid", (), (), 204, b"{}"
    )


def test_bookings_before_the_daemon_had_started_are_no_latency_of_single_ones() -> None:
    """The first one is made while the daemon starts: how long that takes is none of the bridge's latency."""
    committed = [Committed(f"R{number}", number, second(number)) for number in range(1, 6)]
    requests = [received(1, second(4)), *(received(number, second(number + 0.005)) for number in range(2, 6))]
    summary = summarise(
        committed,
        requests,
        final_bodies={f"R{number}": b"{}" for number in range(1, 6)},
        rolled_back=(),
        retries=0,
        started_at=second(1.5),
        faults_from=second(4.5),
    )
    assert summary.missing == 0
    assert summary.one_by_one_ms is not None
    assert max(summary.one_by_one_ms) < 6
    assert summary.all_ms is not None
    assert max(summary.all_ms) > 1000
