"""Which endpoints catch up together, from which position."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cdc_bridge.capture.position import Position, lowest
from cdc_bridge.model import Xid
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint

_NEAR_TRANSACTIONS = 5000
"""Endpoints that are behind by no more transactions catch up together."""
_TIMES_AS_FAR = 10
"""Those that are further behind do so with others that are up to so many times as far behind."""


def catch_up_group(
    waiting: Collection[LeasedEndpoint], position: Position | None, *, last: bool
) -> Sequence[LeasedEndpoint]:
    """Return those that catch up together next, if any may.

    Those that end inside a transaction do so with those that end at the same place: see
    :meth:`~cdc_bridge.capture.position.Position.with_all_of`. Whoever is far behind the first ones is left for another
    group, which those do not have to wait for.

    Args:
        waiting: Those that are to catch up.
        position: How far the log is read for those that follow; ``None``: nobody does.
        last: Whether no other group may begin after this one: it is kept for those that are not far behind.
    """
    if not waiting:
        return []
    lacking = {leased: _first_lacking(leased.position) for leased in waiting}
    first = max(lacking, key=lambda leased: lacking[leased])
    end_of_log = max(lacking[first], lacking[first] if position is None else _first_lacking(position))
    behind = end_of_log - lacking[first]
    if last and behind > _NEAR_TRANSACTIONS:
        return []
    if first.position.place is not None:
        return [leased for leased in lacking if leased.position == first.position]
    furthest = end_of_log - max(_NEAR_TRANSACTIONS, _TIMES_AS_FAR * behind)
    return [leased for leased in lacking if lacking[leased] >= furthest and leased.position.place is None]


def further(start: Position, position: Position) -> Position:
    """Return the position to read from on, for those that have all that ``start`` has: it may be further."""
    place = position.place
    is_further = position.snapshot.xmax <= start.snapshot.xmax and (place is None or start.snapshot.sees(place.xid))
    return start if is_further else position


def _first_lacking(position: Position) -> Xid:
    return lowest([position]).snapshot.xmax
