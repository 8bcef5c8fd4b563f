"""Compares what was committed with what arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import quantiles

from cdc_bridge.demo.bookings import Committed
from cdc_bridge.demo.receiver import Call


@dataclass(frozen=True, slots=True)
class Tally:
    """The sums of a demo."""

    committed: int
    received: int
    retries: int
    missing: int
    duplicates: int
    out_of_order: int
    phantom: int
    stale: int
    one_by_one_ms: tuple[float, float] | None
    all_ms: tuple[float, float] | None

    @property
    def nothing_lost(self) -> bool:
        """Whether every committed change led to a call, no other did, in order and with the final state last."""
        return not (self.missing or self.phantom or self.out_of_order or self.stale)

    def rows(self) -> list[tuple[str, str]]:
        """Return the table's rows: what, how much."""
        return [
            ("changes committed", str(self.committed)),
            ("calls received", str(self.received)),
            ("retries", str(self.retries)),
            ("missing", str(self.missing)),
            ("duplicates", str(self.duplicates)),
            ("out of order", str(self.out_of_order)),
            ("of rolled-back transactions", str(self.phantom)),
            ("last call differs from the row", str(self.stale)),
            ("commit to 2xx, p50 / p95, one by one", _milliseconds(self.one_by_one_ms)),
            ("commit to 2xx, p50 / p95, all, with bursts and faults", _milliseconds(self.all_ms)),
        ]


def count(
    committed: Sequence[Committed],
    calls: Sequence[Call],
    *,
    final_bodies: dict[str, bytes],
    rolled_back: Collection[str],
    retries: int,
    crowded_from: datetime,
) -> Tally:
    """Count.

    Args:
        committed: what the booking desk committed.
        calls: all calls that arrived, in their order.
        final_bodies: for each reservation what would be posted now.
        rolled_back: reservations that must never appear.
        retries: attempts beyond each delivery's first, as the ledger has them.
        crowded_from: from when on there were bursts, and things were broken on purpose.
    """
    accepted = [call for call in calls if call.status == 200]
    by_reservation: dict[str, list[Call]] = {}
    for call in accepted:
        by_reservation.setdefault(call.reservation["id"], []).append(call)
    wait_ms: dict[Committed, float] = {}
    for change in committed:
        # A newer call carries an older change's state with it.
        covering = [call.at for call in by_reservation.get(change.reservation_id, []) if call.seq >= change.seq]
        if covering:
            wait_ms[change] = (min(covering) - change.at).total_seconds() * 1000
    times = Counter(call.message_id for call in accepted)
    return Tally(
        committed=len(committed),
        received=len(accepted),
        retries=retries,
        missing=len(committed) - len(wait_ms),
        duplicates=sum(n - 1 for n in times.values()),
        out_of_order=sum(
            earlier.seq > later.seq for calls in by_reservation.values() for earlier, later in pairwise(calls)
        ),
        phantom=sum(call.reservation["id"] in rolled_back for call in calls),
        stale=sum(calls[-1].body != final_bodies.get(id_) for id_, calls in by_reservation.items()),
        one_by_one_ms=_p50_p95([ms for change, ms in wait_ms.items() if change.at < crowded_from]),
        all_ms=_p50_p95(list(wait_ms.values())),
    )


def _p50_p95(values: list[float]) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    cuts = quantiles(values, n=20, method="inclusive")
    return cuts[9], cuts[18]


def _milliseconds(pair: tuple[float, float] | None) -> str:
    return f"{pair[0]:,.1f} ms / {pair[1]:,.1f} ms" if pair else "-"
