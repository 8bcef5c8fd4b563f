"""Pages of the change log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.database import ServerDatabase
from cdc_bridge.model import Change, EndpointId, Operation, ReservationId, Seq, Xid
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

PAGE_BYTES = 1_000_000
"""Reservation keys read at once; the last one may exceed it. A key may have some hundred thousand bytes, in one row."""

_UNKNOWN = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """A change, and what an endpoint's delivery log knew of it when it was read."""

    xid: Xid
    change: Change
    recorded: bool = False
    """The delivery log has it: an earlier run settled it, or left it to be retried."""
    overtaken: bool = False
    """A newer change of its reservation was delivered, so a request now would go back in time."""


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive changes, and the position once they are handed over."""

    changes: tuple[LoggedChange, ...]
    position: Position
    at_end: bool
    """Whether it reaches the end of the log."""


class ChangeLog:
    """The change log, as the daemon reads it."""

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database

    async def read_page(self, position: Position, limit: int) -> Page:
        """Return the changes after a position, at most ``limit`` rows of the log."""
        return await self._database.patiently(partial(read_page, position=position, limit=limit))

    async def known(self, changes: Mapping[EndpointId, Sequence[LoggedChange]]) -> dict[EndpointId, list[LoggedChange]]:
        """Return changes with what the delivery log of each endpoint knows of them."""
        return await self._database.patiently(partial(known_changes, changes=changes))


async def read_page(connection: AsyncConnection, position: Position, limit: int) -> Page:
    """Return the changes after a position, at most ``limit`` rows of the log and about ``PAGE_BYTES`` of keys.

    Several changes of one reservation by one transaction are one, numbered as the first and ``created`` if the
    reservation was inserted there.
    """
    snapshot, rows, key_bytes = await _read_rows(connection, position, limit + 1)
    behind = rows[limit:]
    del rows[limit:]
    is_full = bool(behind) or key_bytes >= PAGE_BYTES
    cut_off_at = _last_place(rows, position.place) if is_full else None
    finished = bool(behind) and behind[0].xid != rows[-1].xid
    highest = max((row.xid for row in rows), default=None)
    changes = _merge_within_transaction(rows)
    if position.place is not None:
        changes = await _without_earlier_in_transaction(connection, position.place, changes)
    # One reservation's changes must go out by seq; across transactions the page's order is another.
    changes.sort(key=lambda logged: logged.change.seq)
    after = position.after_page(snapshot, cut_off_at, highest, finished=finished)
    return Page(tuple(changes), after, at_end=cut_off_at is None)


async def _read_rows(
    connection: AsyncConnection, position: Position, limit: int
) -> tuple[Snapshot, list[LoggedChange], int]:
    """Return the snapshot, the rows, and the size of their keys."""
    parameters = _after(position) | {"limit": limit, "max_bytes": PAGE_BYTES}
    cursor = await connection.execute(_queries["read_page"], parameters)
    records = await cursor.fetchall()
    read_in = Snapshot.parse(records[0][0])
    if records[0][1] is None:
        return read_in, [], 0
    return read_in, [_logged_change(record) for record in records], int(records[-1][6])


async def known_changes(
    connection: AsyncConnection, changes: Mapping[EndpointId, Sequence[LoggedChange]]
) -> dict[EndpointId, list[LoggedChange]]:
    """Return changes with what the delivery log of each endpoint knows of them."""
    pairs = [(endpoint_id, logged) for endpoint_id, each in changes.items() for logged in each]
    parameters = {
        "endpoint_ids": [endpoint_id for endpoint_id, _ in pairs],
        "seqs": [logged.change.seq for _, logged in pairs],
        "reservation_ids": [logged.change.reservation_id for _, logged in pairs],
    }
    cursor = await connection.execute(_queries["known_deliveries"], parameters)
    found: dict[EndpointId, list[LoggedChange]] = {endpoint_id: [] for endpoint_id in changes}
    for (endpoint_id, logged), (recorded, overtaken) in zip(pairs, await cursor.fetchall(), strict=True):
        found[endpoint_id].append(replace(logged, recorded=recorded, overtaken=overtaken))
    return found


async def count_unread(connection: AsyncConnection, position: Position, limit: int) -> int:
    """Count the changes after a position, up to a limit."""
    cursor = await connection.execute(_queries["count_unread"], _after(position) | {"limit": limit})
    record = await cursor.fetchone()
    return 0 if record is None else int(record[0])


def _after(position: Position) -> dict[str, Any]:
    """Return the parameters of a statement that walks the changes after a position."""
    place, snapshot = position.place, position.snapshot
    in_part = place.xid if place else None
    return {
        "in_progress": [str(xid) for xid in sorted(snapshot.in_progress) if xid != in_part],
        "place_xid": None if place is None else str(place.xid),
        "place_seq": None if place is None else place.seq,
        # A transaction read in part is either among those in progress or the very first one not begun then.
        "from_xid": str(snapshot.xmax + 1 if in_part == snapshot.xmax else snapshot.xmax),
    }


def _logged_change(record: TupleRow) -> LoggedChange:
    _, xid, seq, reservation_id, operation, changed_at, _ = record
    return LoggedChange(Xid(xid), Change(Seq(seq), ReservationId(reservation_id), operation_of(operation), changed_at))


def operation_of(letter: str) -> Operation:
    """Return the operation for the letter in the log."""
    return Operation.CREATED if letter == "I" else Operation.UPDATED


def _last_place(rows: list[LoggedChange], before: Place | None) -> Place:
    last = rows[-1]
    times = {row.change.changed_at for row in rows if row.xid == last.xid}
    if before is not None and before.xid == last.xid:
        times.add(before.one_statement_at or _UNKNOWN)
    one_statement_at = times.pop() if len(times) == 1 else None
    return Place(last.xid, last.change.seq, one_statement_at)


def _merge_within_transaction(rows: list[LoggedChange]) -> list[LoggedChange]:
    merged: dict[tuple[Xid, ReservationId], LoggedChange] = {}
    for row in rows:
        key = (row.xid, row.change.reservation_id)
        first = merged.get(key)
        if first is None:
            merged[key] = row
        elif row.change.operation is Operation.CREATED and first.change.operation is not Operation.CREATED:
            merged[key] = replace(first, change=replace(first.change, operation=Operation.CREATED))
    return list(merged.values())


async def _without_earlier_in_transaction(
    connection: AsyncConnection, place: Place, changes: list[LoggedChange]
) -> list[LoggedChange]:
    """Leave out reservations that the transaction had already changed before the place where the last page ended."""
    # One statement changes a reservation once, and stamps all its changes with one time.
    candidates = [
        logged.change.reservation_id
        for logged in changes
        if logged.xid == place.xid and logged.change.changed_at != place.one_statement_at
    ]
    if not candidates:
        return changes
    cursor = await connection.execute(
        _queries["changed_earlier_in_transaction"],
        {"xid": str(place.xid), "seq": place.seq, "reservation_ids": candidates},
    )
    earlier = {record[0] for record in await cursor.fetchall()}
    return [logged for logged in changes if logged.xid != place.xid or logged.change.reservation_id not in earlier]
