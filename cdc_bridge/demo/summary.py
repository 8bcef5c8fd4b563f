"""Compares what was committed with what arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import quantiles

from cdc_bridge.demo.bookings import Committed
from cdc_bridge.vendor.receive.receiver import ReceivedRequest


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts and latencies of a demo."""

    committed: int
    received: int
    retries: int
    missing: int
    duplicates: int
    out_of_order: int
    phantom: int
    stale: int
    invalid: int
    one_by_one_ms: tuple[float, float] | None
    all_ms: tuple[float, float] | None

    @property
    def nothing_lost(self) -> bool:
        """Whether every committed change was delivered, in order, last with the final state, and nothing else was."""
        return not (self.missing or self.phantom or self.out_of_order or self.stale or self.invalid)

    def rows(self) -> list[tuple[str, str]]:
        """Return label and value of each row of the table."""
        return [
            ("changes committed", str(self.committed)),
            ("requests received", str(self.received)),
            ("retries", str(self.retries)),
            ("missing", str(self.missing)),
            ("duplicates", str(self.duplicates)),
            ("out of order", str(self.out_of_order)),
            ("from rolled-back transactions", str(self.phantom)),
            ("last request differs from the row", str(self.stale)),
            ("invalid signature or body", str(self.invalid)),
            ("commit to 2xx, p50 / p95, one by one", _milliseconds(self.one_by_one_ms)),
            ("commit to 2xx, p50 / p95, all, with bursts and faults", _milliseconds(self.all_ms)),
        ]


def summarise(
    committed: Sequence[Committed],
    requests: Sequence[ReceivedRequest],
    *,
    final_bodies: dict[str, bytes],
    rolled_back: Collection[str],
    retries: int,
    started_at: datetime,
    faults_from: datetime,
) -> Summary:
    """Compare commits with requests.

    Args:
        committed: Changes that were committed.
        requests: Requests in the order of their arrival.
        final_bodies: Each reservation's body as it is now.
        rolled_back: Reservations that must never arrive.
        retries: Attempts beyond each delivery's first, by the delivery log.
        started_at: When the daemon had started: what was committed before waited for it.
        faults_from: Start of bursts and deliberate faults.
    """
    accepted = [request for request in requests if request.is_accepted]
    by_reservation: dict[str, list[ReceivedRequest]] = {}
    for request in accepted:
        by_reservation.setdefault(request.subject, []).append(request)
    latency_ms: dict[Committed, float] = {}
    for change in committed:
        # A newer request carries an older change's state as well.
        covering = [
            request.at for request in by_reservation.get(change.reservation_id, []) if _seq(request) >= change.seq
        ]
        if covering:
            latency_ms[change] = (min(covering) - change.at).total_seconds() * 1000
    times = Counter(request.message_id for request in accepted)
    return Summary(
        committed=len(committed),
        received=len(accepted),
        retries=retries,
        missing=len(committed) - len(latency_ms),
        duplicates=sum(n - 1 for n in times.values()),
        out_of_order=sum(
            _seq(earlier) > _seq(later) for sent in by_reservation.values() for earlier, later in pairwise(sent)
        ),
        phantom=sum(request.subject in rolled_back for request in requests),
        stale=sum(sent[-1].body != final_bodies.get(id_) for id_, sent in by_reservation.items()),
        invalid=sum(not request.is_valid for request in requests),
        one_by_one_ms=_p50_p95([ms for change, ms in latency_ms.items() if started_at <= change.at < faults_from]),
        all_ms=_p50_p95(list(latency_ms.values())),
    )


def _seq(request: ReceivedRequest) -> int:
    return int(request.sequence)


def _p50_p95(values: list[float]) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    cuts = quantiles(values, n=20, method="inclusive")
    return cuts[9], cuts[18]


def _milliseconds(pair: tuple[float, float] | None) -> str:
    return f"{pair[0]:,.1f} ms / {pair[1]:,.1f} ms" if pair else "-"
