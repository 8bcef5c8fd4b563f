"""What a kill -9 cost: changes lost, changes left lying, requests repeated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """Of changes of as many reservations, one each."""

    lost: int
    """Committed, not posted, and nobody will."""
    stalled: int
    """Still in the queue of a worker that has been running for long enough; posted or not."""
    repeated: int
    """Requests more than one."""

    def __str__(self) -> str:
        stalled = f", {self.stalled:,} stalled" if self.stalled else ""
        return f"{self.lost:,} lost{stalled}, {self.repeated:,} repeated"


def account(committed: Collection[str], requests: Mapping[str, int], pending: int) -> Account:
    """Draw it up.

    Args:
        committed: the reservations that were changed.
        requests: how many arrived for each reservation; others than those committed do not count.
        pending: so many changes the peer itself still has in its queue.
    """
    arrived = [requests.get(reservation_id, 0) for reservation_id in committed]
    missing = arrived.count(0)
    repeated = sum(count - 1 for count in arrived if count)
    return Account(lost=max(0, missing - pending), stalled=pending, repeated=repeated)


def worst(accounts: Collection[Account]) -> Account:
    """Return the most of each that was seen."""
    return Account(
        lost=max(each.lost for each in accounts),
        stalled=max(each.stalled for each in accounts),
        repeated=max(each.repeated for each in accounts),
    )
