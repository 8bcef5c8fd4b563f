"""Finds deliveries by the guest, the reference or the key of their reservation.

A key is looked up. A name stands in e-Res's tables only, and not in a column that has an index: so the bookings of the
newest deliveries are read, and compared. That is limited; the result says where to go on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cdc_bridge.deliveries.bookings import Booking, bookings_of
from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter, list_deliveries
from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.sessions import Sessions
from cdc_bridge.model import ReservationId

_PAGE = 500
_MOST_READ = 1000
"""Bookings that a search reads, some 100 µs each."""
_LONGEST_SECONDS = 3.0
"""After which a search leaves the rest for the next page, however little it has found."""


@dataclass(frozen=True, slots=True)
class FoundDeliveries:
    """What a search found."""

    deliveries: Sequence[LoggedDelivery]
    bookings: Mapping[ReservationId, Booking]
    next: Cursor | None
    """Where to go on; ``None``: everything was searched."""


async def search_deliveries(
    sessions: Sessions, filter_: DeliveryFilter, text: str, limit: int, after: Cursor | None = None
) -> FoundDeliveries:
    """Return deliveries whose booking matches, newest change first.

    Args:
        sessions: To the database.
        filter_: Which deliveries to search.
        text: A reservation's key or reference, or a part of a guest's name, e-mail address or telephone number.
        limit: Go on until so many are found; there may be some more.
        after: Where the previous search ended; ``None``: the newest.

    Raises:
        BridgeError: There is no endpoint of that name.
    """
    by_key = await bookings_of(sessions, [ReservationId(text)])
    if by_key:
        page = await list_deliveries(sessions, replace(filter_, reservation_id=ReservationId(text)), limit, after)
        return FoundDeliveries(page.deliveries, by_key, page.next)
    read: dict[ReservationId, Booking] = {}
    asked: set[ReservationId] = set()
    matching: list[LoggedDelivery] = []
    deadline = time.monotonic() + _LONGEST_SECONDS
    while len(asked) < _MOST_READ and len(matching) < limit and time.monotonic() < deadline:
        page = await list_deliveries(sessions, filter_, _PAGE, after)
        new = list(dict.fromkeys(one.reservation_id for one in page.deliveries if one.reservation_id not in asked))
        asked.update(new)
        read |= await bookings_of(sessions, new)
        matching += [
            delivery
            for delivery in page.deliveries
            if delivery.reservation_id == text
            or ((booking := read.get(delivery.reservation_id)) is not None and booking.matches(text))
        ]
        after = page.next
        if after is None:
            break
    return FoundDeliveries(matching, read, after)
