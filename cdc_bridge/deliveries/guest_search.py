"""Finds deliveries by the guest, the reference or the key of their reservation.

A key is looked up. A name stands in e-Res's tables only, and not in a column that has an index: so of the bookings of
the newest deliveries those columns are read that people search by, and compared. Only so many deliveries are read, so
that a search takes about as long as any page; the result says where to go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cdc_bridge.deliveries.bookings import Booking, bookings_of, matching
from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter, list_deliveries
from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.sessions import Sessions
from cdc_bridge.model import ReservationId

_READ = (100, 500)
"""Deliveries that a search reads at once: first few, as nearly all may match."""


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
        BridgeError: There is no endpoint of that name, or bookings cannot be read at all.
    """
    by_key = await bookings_of(sessions, [ReservationId(text)])
    if by_key:
        page = await list_deliveries(sessions, replace(filter_, reservation_id=ReservationId(text)), limit, after)
        return FoundDeliveries(page.deliveries, by_key, page.next)
    found: list[LoggedDelivery] = []
    compared: set[ReservationId] = set()
    wanted = {ReservationId(text)}
    for number in _READ:
        page = await list_deliveries(sessions, filter_, number, after)
        new = {delivery.reservation_id for delivery in page.deliveries} - compared
        wanted |= await matching(sessions, sorted(new), text)
        compared |= new
        found += [delivery for delivery in page.deliveries if delivery.reservation_id in wanted]
        after = page.next
        if after is None or len(found) >= limit:
            break
    ids = list(dict.fromkeys(delivery.reservation_id for delivery in found))
    return FoundDeliveries(found, await bookings_of(sessions, ids), after)
