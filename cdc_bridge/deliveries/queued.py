"""Queued deliveries in the change log: behind an endpoint's position, and not in its delivery log yet.

In a long outage there may be millions. They are read from the newest change backwards, along the log's primary key, and
only so many at a time: a page may then have fewer than its limit, and a place to continue from. The order is that of
transactions, which is nearly that of the numbers.

What an endpoint with conditions wants is found as the daemon finds it, by the reservations as they are now. It may turn
out when it is loaded that a reservation is not for the endpoint after all.

An endpoint that follows its daemon has what is new handed over at once. So what is younger than some seconds is no
backlog there, unless somebody asks for the one endpoint.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.capture.change_log import LoggedChange, known_changes, operation_of
from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.sessions import Sessions
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import Change, DeliveryState, EndpointId, Events, Operation, ReservationId, Seq, Xid
from cdc_bridge.payload.column_values import read_values
from cdc_bridge.payload.conditions import Conditions, resolve
from cdc_bridge.payload.definition import payload_definition
from cdc_bridge.payload.routing_index import RoutingIndex
from cdc_bridge.payload.subscription import Subscription, parse_conditions
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection

_queries = load_queries(__name__)

_LOOK_AT = 20_000
"""Changes of the log that one statement looks at for those that match a filter."""
_MOST_STEPS = 5
_MOST_READ = 2000
"""Changes of which a page finds out who wants them."""
_FIRST_STEP = 100
_PAIRS_AT_ONCE = 500
"""Pairs of a change and an endpoint that are looked up together."""
_LARGEST_STEP = 2000
_HIGHEST = 2**63 - 1

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class QueuedPlace:
    """A place in the list of queued ones: the change, and the endpoint, whose delivery was the last one."""

    xid: int
    seq: int
    endpoint_id: int


START = QueuedPlace(_HIGHEST, _HIGHEST, 0)


@dataclass(frozen=True, slots=True)
class QueuedFilter:
    """Which of them to list; ``None``: no restriction."""

    endpoint_id: EndpointId | None = None
    reservation_id: ReservationId | None = None
    since: datetime | None = None
    """First ``changed_at``."""
    until: datetime | None = None
    """``changed_at`` before this."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A queued delivery, and its place in the list."""

    place: QueuedPlace
    delivery: LoggedDelivery


@dataclass(frozen=True, slots=True)
class QueuedPage:
    """A page of them."""

    found: Sequence[Queued]
    next: QueuedPlace | None
    """Where the search goes on; ``None``: there are no more."""


@dataclass(frozen=True, slots=True)
class _Behind:
    """An endpoint with changes behind its position."""

    endpoint_id: EndpointId
    name: str
    subscription: Subscription | None
    """``None``: its conditions cannot be read, so nobody knows what it wants."""
    events: Events
    position: Position


class _Wanting:
    """Says which of some endpoints want reservations."""

    def __init__(self, endpoints: Collection[_Behind]) -> None:
        self._always = {each.endpoint_id for each in endpoints if each.subscription is None}
        self._indexes: dict[str, RoutingIndex] = {}
        for each in endpoints:
            if each.subscription is None or not each.subscription.conditions:
                self._always.add(each.endpoint_id)
            else:
                payload = each.subscription.payload
                index = self._indexes.setdefault(payload, RoutingIndex(payload))
                index.subscriptions[each.endpoint_id] = each.subscription

    @property
    def needs_rows(self) -> bool:
        """Whether reservations have to be read to know."""
        return bool(self._indexes)

    async def resolve(self, connection: Connection) -> None:
        """Prepare the endpoints' conditions. Who has some that do not fit the payload counts as wanting everything."""
        for index in self._indexes.values():
            known: Conditions = {}
            try:
                index.definition = await payload_definition(connection, index.payload)
                if not await resolve(connection, index.definition, known, set(index.subscriptions.values())):
                    index.definition = None
            except PayloadInvalid:
                index.definition = None
            if index.definition is None:
                self._always.update(index.subscriptions)
            else:
                index.put(list(index.subscriptions), known)
                self._always.update(index.unrouted)

    async def read(
        self, connection: LoadingConnection, ids: Sequence[ReservationId]
    ) -> dict[ReservationId, set[EndpointId]]:
        """Return the endpoints with conditions that want each of some reservations."""
        found: dict[ReservationId, set[EndpointId]] = {id_: set() for id_ in ids}
        for index in self._indexes.values():
            columns = index.columns(None)
            if not columns or index.definition is None:
                continue
            try:
                values = await read_values(connection, index.payload, columns, ids)
            except psycopg.Error as error:
                if connection.closed or isinstance(error, psycopg.OperationalError):
                    raise
                # Some row is at fault: the daemon finds out which. Until then all of these wait.
                for id_ in ids:
                    found[id_].update(index.routed(None))
                continue
            for id_, rows in values.rows.items():
                found[id_] |= index.wanting(columns, rows)
        return found

    def of(self, id_: ReservationId, found: Mapping[ReservationId, set[EndpointId]]) -> set[EndpointId]:
        """Return all that want a reservation."""
        return self._always | found.get(id_, set())


@dataclass(frozen=True, slots=True)
class _Step:
    changes: Sequence[LoggedChange]
    next: QueuedPlace | None


async def list_queued(
    sessions: Sessions,
    filter_: QueuedFilter,
    limit: int,
    after: QueuedPlace = START,
    *,
    down_to: Callable[[], Awaitable[int]] | None = None,
) -> QueuedPage:
    """Return queued deliveries, newest transaction first.

    Args:
        sessions: To the database.
        filter_: Which.
        limit: How many at most.
        after: Where the previous page ended.
        down_to: Returns a number, below which changes may be left for the next page; asked if any endpoint is behind.
    """
    behind, wanting = await _endpoints_behind(sessions, filter_.endpoint_id)
    if not behind:
        return QueuedPage((), None)
    lowest = 0 if down_to is None else await down_to()
    from_xid = min(_first_unseen(each.position) for each in behind.values())
    positions = {each.position for each in behind.values()}
    found: list[Queued] = []
    place: QueuedPlace | None = after
    number, size = 0, _FIRST_STEP
    for _ in range(_MOST_STEPS):
        if place is None or len(found) >= limit or number >= _MOST_READ or place.seq < lowest:
            break
        began = place
        step = await sessions.read(partial(_step, filter_=filter_, from_xid=from_xid, after=began, limit=size))
        # Those that all endpoints have need not be routed: a transaction that is open for long keeps from_xid low.
        since = filter_.since
        changes = [
            each
            for each in step.changes
            if (since is None or each.change.changed_at >= since) and _is_new(each, positions)
        ]
        pairs = await _wanted(sessions, behind, wanting, changes, began)
        place = step.next
        found += await _first_unrecorded(sessions, pairs, limit - len(found))
        if len(found) >= limit:
            place = found[-1].place
        number, size = number + len(step.changes), min(4 * size, _LARGEST_STEP)
    return QueuedPage(await _tried(sessions, found), place)


async def _endpoints_behind(
    sessions: Sessions, endpoint_id: EndpointId | None
) -> tuple[dict[EndpointId, _Behind], _Wanting]:
    behind = {each.endpoint_id: each for each in await sessions.read(partial(_behind, endpoint_id=endpoint_id))}
    wanting = _Wanting(behind.values())
    if wanting.needs_rows:
        await sessions.read(wanting.resolve)
    return behind, wanting


async def _wanted(
    sessions: Sessions,
    behind: Mapping[EndpointId, _Behind],
    wanting: _Wanting,
    changes: Sequence[LoggedChange],
    after: QueuedPlace,
) -> Iterator[tuple[_Behind, LoggedChange]]:
    """Return the changes with the endpoints that want them and have not had them, after a place in the list."""
    ids = list(dict.fromkeys(each.change.reservation_id for each in changes))
    rows = await sessions.load(partial(wanting.read, ids=ids)) if ids and wanting.needs_rows else {}
    return (
        (behind[endpoint_id], logged)
        for logged in changes
        for endpoint_id in sorted(wanting.of(logged.change.reservation_id, rows))
        if _waits(behind[endpoint_id], logged, after)
    )


async def _first_unrecorded(
    sessions: Sessions, pairs: Iterator[tuple[_Behind, LoggedChange]], limit: int
) -> Sequence[Queued]:
    """Return the first of them that the delivery logs do not have."""
    found: list[Queued] = []
    # With thousands of endpoints, one change may be for all: only so many are looked up as are shown.
    while len(found) < limit and (chunk := list(islice(pairs, _PAIRS_AT_ONCE))):
        found += await sessions.read(partial(_unrecorded, pairs=chunk))
    return found[:limit]


async def _tried(sessions: Sessions, found: Sequence[Queued]) -> Sequence[Queued]:
    """Return them with their last attempts: those that were tried are held, as their endpoint is failing."""
    if not found:
        return found
    attempts = await sessions.read(partial(_last_attempts, found=found))
    return [
        replace(each, delivery=replace(each.delivery, **attempts.get((each.place.endpoint_id, each.place.seq), {})))
        for each in found
    ]


async def _last_attempts(connection: Connection, found: Sequence[Queued]) -> Mapping[tuple[int, int], dict[str, Any]]:
    deliveries = [each.delivery for each in found]
    parameters = {
        "endpoint_ids": [delivery.endpoint_id for delivery in deliveries],
        "seqs": [delivery.seq for delivery in deliveries],
    }
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["last_attempts"], parameters)
        return {(row.pop("endpoint_id"), row.pop("seq")): row for row in await cursor.fetchall()}


async def find_queued(
    sessions: Sessions, seq: Seq, endpoint_id: EndpointId | None, *, limit: int = 2
) -> Sequence[LoggedDelivery]:
    """Return the queued deliveries of a change, of one endpoint or, up to a limit, of all.

    The change is looked for where the log has numbers like it: one in a transaction that took very long may be missed.
    Of several changes of a reservation by one transaction it is the first that counts.
    """
    changes = await sessions.read(partial(_changes_of, seq=seq))
    if not changes:
        return ()
    behind, wanting = await _endpoints_behind(sessions, endpoint_id)
    pairs = await _wanted(sessions, behind, wanting, changes, START)
    found = await _tried(sessions, await _first_unrecorded(sessions, pairs, limit))
    return [each.delivery for each in found]


async def _changes_of(connection: Connection, seq: Seq) -> Sequence[LoggedChange]:
    """Return the change of a number; none: there is none, or its transaction had changed the reservation before."""
    cursor = await connection.execute(_queries["change_of_number"], {"seq": seq})
    changes = [_logged_change(record) for record in await cursor.fetchall()]
    return await _without_earlier(connection, changes, changes[0].xid, seq) if changes else ()


def _logged_change(record: Sequence[Any]) -> LoggedChange:
    xid, seq, id_, operation, changed_at = record
    return LoggedChange(Xid(xid), Change(Seq(seq), ReservationId(id_), operation_of(operation), changed_at))


def _is_new(logged: LoggedChange, positions: Collection[Position]) -> bool:
    return any(not position.has(logged.xid, logged.change.seq) for position in positions)


def _waits(endpoint: _Behind, logged: LoggedChange, after: QueuedPlace) -> bool:
    change = logged.change
    if (logged.xid, change.seq) == (after.xid, after.seq) and endpoint.endpoint_id <= after.endpoint_id:
        return False
    return endpoint.events.includes(change.operation) and not endpoint.position.has(logged.xid, change.seq)


def _first_unseen(position: Position) -> int:
    return min(position.snapshot.in_progress, default=position.snapshot.xmax)


async def _behind(connection: Connection, endpoint_id: EndpointId | None) -> list[_Behind]:
    cursor = await connection.execute(_queries["endpoints_behind"], {"endpoint_id": endpoint_id}, prepare=False)
    positions: dict[tuple[str, int | None, int | None], Position] = {}
    behind = []
    for id_, name, payload, only, events, *position in await cursor.fetchall():
        snapshot, place_xid, place_seq = key = tuple(position)
        if key not in positions:
            place = None if place_xid is None else Place(Xid(place_xid), Seq(place_seq))
            positions[key] = Position(Snapshot.parse(snapshot), place)
        try:
            subscription = Subscription(payload, parse_conditions(only))
        except ValueError:
            subscription = None
        behind.append(_Behind(EndpointId(id_), name, subscription, Events(events), positions[key]))
    return behind


async def _step(connection: Connection, filter_: QueuedFilter, from_xid: int, after: QueuedPlace, limit: int) -> _Step:
    """Read some changes backwards, and where to go on."""
    look_at = limit if filter_.reservation_id is None and filter_.until is None else _LOOK_AT
    parameters = {
        "from_xid": str(from_xid), "after_xid": str(after.xid), "after_seq": after.seq, "look_at": look_at,
        "reservation_id": filter_.reservation_id, "until": filter_.until, "limit": limit,
    }  # fmt: skip
    cursor = await connection.execute(_queries["changes_backwards"], parameters, prepare=False)
    records = await cursor.fetchall()
    last_xid, last_seq = records[0][:2]
    changes: Sequence[LoggedChange] = [_logged_change(record[2:]) for record in records if record[2] is not None]
    if len(changes) == limit:
        last_xid, last_seq = changes[-1].xid, changes[-1].change.seq
    place = None
    if last_xid is not None:
        place = QueuedPlace(last_xid, last_seq - 1, 0)
        changes = await _without_earlier(connection, changes, Xid(last_xid), last_seq)
    return _Step(_first_of_each(changes), place)


async def _without_earlier(
    connection: Connection, changes: Sequence[LoggedChange], xid: Xid, seq: int
) -> Sequence[LoggedChange]:
    """Leave out what a transaction changed before the place at which reading stopped: it counts there."""
    of_last = [logged.change for logged in changes if logged.xid == xid]
    parameters = {
        "xid": str(xid), "seq": seq - 1, "reservation_ids": [change.reservation_id for change in of_last],
        "times": [change.changed_at for change in of_last],
    }  # fmt: skip
    cursor = await connection.execute(_queries["changed_before"], parameters)
    before = {id_ for (id_,) in await cursor.fetchall()}
    return [logged for logged in changes if logged.xid != xid or logged.change.reservation_id not in before]


def _first_of_each(changes: Sequence[LoggedChange]) -> list[LoggedChange]:
    """Return several changes of one reservation by one transaction as one, as the daemon delivers them."""
    merged: dict[tuple[Xid, ReservationId], LoggedChange] = {}
    for logged in changes:  # the highest number first
        later = merged.pop(key := (logged.xid, logged.change.reservation_id), logged)
        created = Operation.CREATED in {logged.change.operation, later.change.operation}
        merged[key] = replace(logged, change=replace(logged.change, operation=Operation.CREATED)) if created else logged
    return list(merged.values())


async def _unrecorded(connection: Connection, pairs: Sequence[tuple[_Behind, LoggedChange]]) -> list[Queued]:
    """Return those that the delivery logs do not have."""
    changes: dict[EndpointId, list[LoggedChange]] = {}
    for endpoint, logged in pairs:
        changes.setdefault(endpoint.endpoint_id, []).append(logged)
    known = await known_changes(connection, changes) if changes else {}
    recorded = {
        (endpoint_id, logged.change.seq) for endpoint_id, each in known.items() for logged in each if logged.recorded
    }
    return [
        Queued(QueuedPlace(logged.xid, logged.change.seq, endpoint.endpoint_id), _delivery(endpoint, logged.change))
        for endpoint, logged in pairs
        if (endpoint.endpoint_id, logged.change.seq) not in recorded
    ]


def _delivery(endpoint: _Behind, change: Change) -> LoggedDelivery:
    return LoggedDelivery(
        endpoint_id=endpoint.endpoint_id,
        endpoint=endpoint.name,
        seq=change.seq,
        reservation_id=change.reservation_id,
        operation=change.operation,
        changed_at=change.changed_at,
        state=DeliveryState.QUEUED,
        skip_reason=None,
        attempts=0,
        failures=0,
        next_attempt_at=None,
        last_status=None,
        last_error=None,
        message_id=None,
        last_attempt_at=None,
        duration_seconds=None,
        recorded_at=None,
    )
