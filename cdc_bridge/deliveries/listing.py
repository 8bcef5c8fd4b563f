"""Lists deliveries, newest change first, a page at a time: those of the delivery log, and those queued.

The two are separate lists, each with its own place to continue from, and merged by the numbers of the changes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from heapq import merge
from itertools import islice

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.deliveries import log_listing, queued
from cdc_bridge.deliveries.log_listing import LogFilter, LogPage, LogPlace, list_logged
from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.queued import QueuedFilter, QueuedPage, QueuedPlace, list_queued
from cdc_bridge.deliveries.sessions import Sessions
from cdc_bridge.endpoints.lookup import known_endpoints, no_such_endpoint
from cdc_bridge.model import DeliveryState, EndpointId, ReservationId

_HIGHEST = 2**63 - 1
_CURSOR = re.compile(r"(\d{1,20})-(\d{1,20})(?:-(\d{1,20})-(\d{1,20})-(\d{1,20}))?", re.ASCII)
_AT_END = LogPlace(0, 0)

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list; ``None`` or empty: no restriction."""

    endpoint: str | None = None
    states: Sequence[DeliveryState] = ()
    reservation_id: ReservationId | None = None
    since: datetime | None = None
    """First ``changed_at``."""
    until: datetime | None = None
    """``changed_at`` before this."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list; the next page has what comes after it."""

    logged: LogPlace | None
    """In the delivery log; ``None``: at its end."""
    queued: QueuedPlace | None
    """Among those queued in the change log; ``None``: at its end."""

    def __str__(self) -> str:
        logged = self.logged or _AT_END
        places = [logged.seq, logged.endpoint_id]
        if self.queued is not None:
            places += [self.queued.xid, self.queued.seq, self.queued.endpoint_id]
        return "-".join(map(str, places))

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse what ``str`` returned.

        Raises:
            ValueError: It is not a cursor.
        """
        if (match := _CURSOR.fullmatch(text)) is None:
            raise ValueError("is not a cursor of this list")
        numbers = [None if group is None else min(int(group), _HIGHEST) for group in match.groups()]
        seq, endpoint_id, *place = numbers
        logged = LogPlace(seq or 0, endpoint_id or 0)
        return cls(
            None if logged == _AT_END else logged,
            None if place[0] is None else QueuedPlace(place[0], place[1] or 0, place[2] or 0),
        )


_START = Cursor(log_listing.START, queued.START)


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A page of the list."""

    deliveries: Sequence[LoggedDelivery]
    next: Cursor | None
    """Where the next page starts; ``None``: this is the last one."""


async def list_deliveries(
    sessions: Sessions, filter_: DeliveryFilter, limit: int, after: Cursor | None = None
) -> DeliveryPage:
    """Return a page of deliveries, newest change first.

    A page may have fewer than its limit, and a cursor to continue from: only a part of the logs is searched at a time.

    Args:
        sessions: To the database.
        filter_: Which deliveries.
        limit: Size of the page.
        after: Where the previous page ended; ``None``: the first page.

    Raises:
        BridgeError: There is no endpoint of that name.
    """
    place = _START if after is None else after
    endpoint_id = None
    if filter_.endpoint is not None:
        endpoint_id = await sessions.read(partial(_endpoint_id, name=filter_.endpoint))
    of_log = LogFilter(endpoint_id, filter_.states, filter_.reservation_id, filter_.since, filter_.until)
    of_queue = QueuedFilter(endpoint_id, filter_.reservation_id, filter_.since, filter_.until)
    waiting, logged = QueuedPage((), None), LogPage((), None)
    # First what is queued: a delivery that is recorded in between is then in both lists, and not in none.
    if place.queued is not None and (not filter_.states or DeliveryState.QUEUED in filter_.states):
        lowest_shown = partial(_lowest_shown, sessions, of_log, limit, place.logged)
        waiting = await list_queued(sessions, of_queue, limit, place.queued, down_to=lowest_shown)
    if place.logged is not None:
        logged = await sessions.read(partial(list_logged, filter_=of_log, limit=limit, after=place.logged))
    return _merged(waiting, logged, limit, place)


async def _lowest_shown(sessions: Sessions, filter_: LogFilter, limit: int, after: LogPlace | None) -> int:
    """Return a number below which no delivery is shown, as the delivery log has enough for the page."""
    if after is None:
        return 0
    logged = await sessions.read(partial(list_logged, filter_=filter_, limit=limit, after=after, one_step=True))
    return logged.deliveries[-1].seq if len(logged.deliveries) == limit else 0


async def _endpoint_id(connection: Connection, name: str) -> EndpointId:
    for endpoint in await known_endpoints(connection, name):
        return endpoint.endpoint_id
    raise await no_such_endpoint(connection, name)


def _merged(waiting: QueuedPage, logged: LogPage, limit: int, after: Cursor) -> DeliveryPage:
    in_log = {(each.seq, each.endpoint_id) for each in logged.deliveries}
    queue = [each for each in waiting.found if (each.delivery.seq, each.delivery.endpoint_id) not in in_log]
    # Each list keeps its own order, so that what is shown of it is its beginning.
    merged = merge(
        ((each.delivery, each.place) for each in queue),
        ((each, None) for each in logged.deliveries),
        key=lambda pair: (-pair[0].seq, pair[0].endpoint_id),
    )
    pairs = list(islice(merged, limit))
    shown = [delivery for delivery, _ in pairs]
    shown_of_queue = [place for _, place in pairs if place is not None]
    shown_of_log = [delivery for delivery, place in pairs if place is None]
    next_queued, next_logged = waiting.next, logged.next
    if len(shown_of_queue) < len(queue):
        next_queued = shown_of_queue[-1] if shown_of_queue else after.queued
    if len(shown_of_log) < len(logged.deliveries):
        last = shown_of_log[-1] if shown_of_log else None
        next_logged = after.logged if last is None else LogPlace(last.seq, last.endpoint_id)
    if next_queued is None and next_logged is None:
        return DeliveryPage(shown, None)
    return DeliveryPage(shown, Cursor(next_logged, next_queued))
