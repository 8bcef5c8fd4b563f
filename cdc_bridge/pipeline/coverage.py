"""Which changes an accepted body held already: what lets one call stand for many (``latest_only``)."""

from __future__ import annotations

from collections import OrderedDict

from cdc_bridge.capture.position import Snapshot
from cdc_bridge.model import Delivery, ReservationId


class Coverage:
    """Remembers for the reservations called last in which snapshot the accepted body was loaded.

    It is bounded, so a change of a reservation that is forgotten leads to one call more than need be.
    """

    def __init__(self, limit: int) -> None:
        """Begin empty.

        Args:
            limit: most reservations remembered.
        """
        self._limit = limit
        self._seen: OrderedDict[ReservationId, Snapshot] = OrderedDict()

    def accepted(self, reservation_id: ReservationId, seen: Snapshot) -> None:
        """Note that a body loaded in this snapshot was accepted."""
        self._seen[reservation_id] = seen
        self._seen.move_to_end(reservation_id)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)

    def covers(self, delivery: Delivery) -> bool:
        """Say whether a body that was accepted held the change."""
        seen = self._seen.get(delivery.change.reservation_id)
        return seen is not None and delivery.xid is not None and seen.sees(delivery.xid)
