"""Finds out who does not get reservations that were not loaded with the others: large, unreadable or missing ones.

What makes a row unreadable need not be in the columns that conditions are about: a reservation that an endpoint does
not get keeps it waiting neither for its turn nor for its mending.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic

import psycopg

from cdc_bridge.model import ReservationId
from cdc_bridge.payload.column_values import ColumnValues, Texts, parts_of, read_values
from cdc_bridge.payload.definition import RESERVATION
from cdc_bridge.payload.isolated import may_pass
from cdc_bridge.payload.shape import CurrentShape, Reading
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.sessions import LoadingConnection


@dataclass(slots=True)
class Unloaded:
    """What is known of reservations that were not loaded."""

    reading: Reading
    rows: dict[ReservationId, Sequence[Texts]] = field(default_factory=dict)
    """Of those that the payload has: the texts that conditions are about."""
    left_out: set[ReservationId] = field(default_factory=set)
    """Those that exist, and that the payload does not have."""
    left_out_or_deleted: set[ReservationId] = field(default_factory=set)
    """Those that the payload does not have; there is no other one to tell whether they exist."""
    failed: dict[ReservationId, psycopg.Error] = field(default_factory=dict)
    """Those of which nobody can tell whether they exist."""
    postponed: set[ReservationId] = field(default_factory=set)
    """Those for which there was no time."""


async def find_unloaded(
    connection: LoadingConnection,
    current: CurrentShape,
    reservation_ids: Sequence[ReservationId],
    subscriptions: Collection[Subscription],
    *,
    snapshot: str | None,
    until: float,
) -> Unloaded:
    """Return what is known of reservations that were not loaded.

    Args:
        connection: The connection.
        current: The shape of the payload.
        reservation_ids: Their keys.
        subscriptions: Those of the endpoints that wait for them.
        snapshot: A snapshot that another transaction exported, to read in; ``None``: a new one for each query.
        until: When to stop, by the monotonic clock.

    Raises:
        PayloadInvalid: The payload is not defined.
    """
    while True:
        shape = await current.of(connection, subscriptions)
        columns = shape.columns_of(subscriptions)
        found = Unloaded(Reading(shape, 0, columns))
        search = _Search(connection, snapshot, until, found)
        values = await search.read(shape.definition.name, columns, reservation_ids)
        if all(each.revision == shape.definition.revision for each in values):
            break
        current.forget()
    missing = []
    for id_, rows in ((id_, rows) for each in values for id_, rows in each.rows.items()):
        if rows:
            found.rows[id_] = rows
        else:
            missing.append(id_)
    found.failed.clear()  # What conditions are about cannot be read either; it is unreadable anyway.
    if shape.definition.base is not None:
        for each in await search.read(shape.definition.base, [], missing):
            found.left_out.update(id_ for id_, rows in each.rows.items() if rows)
    elif shape.definition.name != RESERVATION:
        found.left_out_or_deleted.update(missing)
    return found


class _Search:
    def __init__(self, connection: LoadingConnection, snapshot: str | None, until: float, found: Unloaded) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._until = until
        self._found = found

    async def read(
        self, payload: str, columns: Sequence[str], reservation_ids: Sequence[ReservationId]
    ) -> list[ColumnValues]:
        read: list[ColumnValues] = []
        parts = deque([reservation_ids] if reservation_ids else [])
        while parts:
            part = parts.popleft()
            if monotonic() > self._until:
                self._found.postponed.update(part)
                continue
            try:
                read.append(await read_values(self._connection, payload, columns, part, self._snapshot))
            except psycopg.Error as error:
                if may_pass(error, self._connection):
                    raise
                if len(part) > 1:
                    parts.extend(parts_of(part))
                else:
                    self._found.failed[part[0]] = error
        return read
