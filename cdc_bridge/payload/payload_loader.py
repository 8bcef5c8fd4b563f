"""Loads reservations by a payload, many in one query, for any number of endpoints.

One query is one snapshot: a reservation, its customer and its phone call are of one instant. It compares each key in
the key column's type, so a key that no longer fits the table is an error and is not taken for a deleted reservation.
One that is not found counts as deleted only if the table has its capture triggers: else it may be another table of the
same name, and the reservation is looked for again later. One that the payload leaves out, or that does not meet an
endpoint's conditions, is filtered: nothing of it is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic

import psycopg
from psycopg import errors
from psycopg.rows import TupleRow

from cdc_bridge.database import condition_of
from cdc_bridge.errors import LeaseLost, PayloadInvalid
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.column_values import parts_of
from cdc_bridge.payload.conditions import KnownConditions
from cdc_bridge.payload.definition import payload_definition
from cdc_bridge.payload.isolated import may_pass, run_isolated
from cdc_bridge.payload.large_bodies import LargeBodies
from cdc_bridge.payload.loaded import MAX_BODY_BYTES, ROOM_BYTES, SMALL_BYTES, Reservation
from cdc_bridge.payload.pending_load import PendingLoad, Waiting, report
from cdc_bridge.payload.shape import CurrentShape, Reading, Shape, defined_anew, payload_does_not_fit
from cdc_bridge.payload.subscription import EVERYTHING, Subscription
from cdc_bridge.payload.unloaded import find_unloaded
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection

_queries = load_queries(__name__)

_SEVERAL_ROWS = "the payload's query returns several rows for it; a join has more than one match"

_MAX_TRIES = 5
LONGEST_LOAD_SECONDS = 40.0
"""Time to look for rows at fault: enough to find one among a hundred if each statement ends by its time-out, and below
the limit of an operation (:data:`~cdc_bridge.database.OPERATION_TIMEOUT_SECONDS`)."""


@dataclass(slots=True)
class Failures:
    """Those reservations of a load that cannot be loaded. They are not reported yet: the payload may be at fault."""

    unreadable: dict[ReservationId, str] = field(default_factory=dict)
    """Why each cannot be loaded."""
    slow: set[ReservationId] = field(default_factory=set)
    """Those of them that took too long."""
    payload_works: bool = False
    """Whether another one was loaded."""

    def add(self, later: Failures) -> None:
        """Add those of a later load."""
        self.unreadable |= later.unreadable
        self.slow |= later.slow
        self.payload_works |= later.payload_works


class PayloadLoader:
    """Loads reservations by one payload.

    Its definition is read once. When it is defined anew, or e-Res alters a column's type, the next load notices and
    continues with the new shape.
    """

    def __init__(
        self,
        payload: str,
        known: KnownConditions,
        large_bodies: LargeBodies,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        describe: Callable[[psycopg.Error], str] = condition_of,
        daemon_id: int | None = None,
    ) -> None:
        """Prepare to load.

        Args:
            payload: The payload's name.
            known: The conditions that were resolved.
            large_bodies: Counts those in memory.
            max_body_bytes: Size of a body that is not sent any more.
            describe: Words an error of a row; the default leaves out what may be a guest's.
            daemon_id: The daemon that loads; ``None``: it is a command.
        """
        self.payload = payload
        self.large_bodies = large_bodies
        self.max_body_bytes = max_body_bytes
        self.describe = describe
        self._daemon_id = daemon_id
        self.shape = CurrentShape(payload, known)

    async def load(self, connection: LoadingConnection, waiting: Waiting, snapshot: str | None = None) -> Failures:
        """Load reservations and report them to those who wait; return those that cannot be loaded.

        Args:
            connection: The connection.
            waiting: The reservations, each with the loads that wait for it.
            snapshot: A snapshot that another transaction exported, to read in; ``None``: a new one for each query.

        Raises:
            PayloadInvalid: The payload is not defined, or what it reads is no longer there.
            LeaseLost: The daemon is not registered any more.
        """
        return await _Load(self, connection, waiting, snapshot).run()

    async def require_valid(self, connection: LoadingConnection) -> None:
        """Make sure that the payload's query fits e-Res's tables; reads no reservation.

        Raises:
            PayloadInvalid: It does not.
        """
        try:
            await self.read(connection, [], 0, [])
        except psycopg.Error as error:
            if may_pass(error, connection):
                raise
            raise payload_does_not_fit(await payload_definition(connection, self.payload), error) from error

    async def read(
        self,
        connection: LoadingConnection,
        reservation_ids: Sequence[ReservationId],
        max_bytes: int,
        subscriptions: Collection[Subscription],
        snapshot: str | None = None,
    ) -> tuple[Reading, Sequence[TupleRow]]:
        """Read the rows of reservations of limited size, with the shape that the payload has now."""
        parameters = {
            "payload": self.payload,
            "reservation_ids": list(reservation_ids),
            "daemon_id": self._daemon_id,
            "max_bytes": min(max_bytes, self.max_body_bytes),
        }
        for _ in range(_MAX_TRIES):
            shape = await self.shape.of(connection, subscriptions)
            columns = shape.columns_of(subscriptions)
            try:
                cursor = await run_isolated(connection, shape.statement(columns), parameters, snapshot)
                rows = await cursor.fetchall()
            except errors.DatatypeMismatch:  # e-Res altered a column's type.
                if (await self.shape.renew(connection, retyped=True)).types == shape.types:
                    raise
            except psycopg.Error as error:
                if (
                    may_pass(error, connection)
                    or await payload_definition(connection, self.payload) == shape.definition
                ):
                    raise
                self.shape.forget()  # It was just defined anew, with other columns or types.
            else:
                if not rows or rows[0][2] == shape.definition.revision:
                    return shape.reading(columns), rows
                self.shape.forget()
        raise defined_anew(self.payload)

    def require_registered(self, rows: Sequence[TupleRow]) -> None:
        """Make sure that the daemon was registered when rows were read.

        Raises:
            LeaseLost: It was not.
        """
        if self._daemon_id is not None and rows[0][0] is None:
            raise LeaseLost("this daemon is not registered any more: others have acquired its leases")

    def too_large(self, size: int) -> str:
        """Return why a body is not sent."""
        return f"its body has about {size:,} bytes, more than max_body_bytes ({self.max_body_bytes:,})"


class _Load:
    """One load of reservations, and those who wait for them."""

    def __init__(
        self, loader: PayloadLoader, connection: LoadingConnection, waiting: Waiting, snapshot: str | None
    ) -> None:
        self._loader = loader
        self._connection = connection
        self._waiting = waiting
        self._snapshot = snapshot
        self._until = monotonic() + LONGEST_LOAD_SECONDS
        self._failures = Failures()
        self._room_bytes = ROOM_BYTES

    async def run(self) -> Failures:
        await self._load_together(list(self._waiting), SMALL_BYTES)
        left = [id_ for id_ in self._waiting if self._wanting(id_)]
        filtered_if_missing: Collection[ReservationId] = ()
        if left:
            filtered_if_missing = await self._report_filtered(left)
            left = [id_ for id_ in left if id_ not in self._failures.unreadable and self._wanting(id_)]
        if left:
            await self._load_large(left, filtered_if_missing)
        unreadable = self._failures.unreadable
        self._failures.unreadable = {id_: why for id_, why in unreadable.items() if self._wanting(id_)}
        return self._failures

    def _wanting(self, id_: ReservationId) -> list[PendingLoad]:
        return [pending for pending in self._waiting[id_] if pending.wants(id_)]

    def _subscriptions(self, reservation_ids: Sequence[ReservationId]) -> set[Subscription]:
        return {pending.subscription for id_ in reservation_ids for pending in self._wanting(id_)}

    async def _load_together(self, reservation_ids: Sequence[ReservationId], max_bytes: int) -> None:
        """Load reservations of limited size. If that fails, divide them until those at fault are found.

        When the time has come, the rest is postponed: what is loaded is not lost.
        """
        parts = deque([reservation_ids])
        while parts:
            part = [id_ for id_ in parts.popleft() if self._wanting(id_)]
            if monotonic() > self._until:
                self._report(part, PendingLoad.postponed)
            elif part:
                try:
                    read = await self._loader.read(
                        self._connection, part, max_bytes, self._subscriptions(part), self._snapshot
                    )
                except psycopg.Error as error:
                    if may_pass(error, self._connection):
                        raise
                    await self._loader.require_valid(self._connection)
                    if len(part) == 1:
                        self._failed(part[0], error)
                    else:
                        parts.extend(parts_of(part))
                else:
                    self._hand_over(part, *read)

    def _failed(self, id_: ReservationId, error: psycopg.Error) -> None:
        self._failures.unreadable[id_] = self._loader.describe(error)
        if isinstance(error, errors.QueryCanceled):
            self._failures.slow.add(id_)

    def _hand_over(self, reservation_ids: Sequence[ReservationId], reading: Reading, rows: Sequence[TupleRow]) -> None:
        shape = reading.shape
        self._fail_invalid(shape, reservation_ids)
        rows_of: dict[ReservationId, list[TupleRow]] = {}
        for row in rows:
            if row[shape.id_index] is not None:
                rows_of.setdefault(row[1], []).append(row)
        if rows_of:
            self._loader.require_registered(rows)
            self._failures.payload_works = True
        for id_, found in rows_of.items():
            built: dict[int, Reservation] = {}
            for pending in self._wanting(id_):
                met = [number for number, row in enumerate(found) if reading.meets(row, pending.subscription)]
                if not met:
                    pending.filtered(id_)
                elif len(met) > 1:
                    pending.unreadable(id_, _SEVERAL_ROWS, alone_at_fault=True)
                else:
                    reservation = built.get(met[0])
                    if reservation is None:
                        reservation = built[met[0]] = self._build(id_, shape, found[met[0]])
                    if len(reservation.body) > self._loader.max_body_bytes:  # Escapes count.
                        pending.unreadable(id_, self._loader.too_large(len(reservation.body)), alone_at_fault=True)
                    else:
                        pending.found(reservation)

    def _build(self, id_: ReservationId, shape: Shape, row: TupleRow) -> Reservation:
        reservation = Reservation(id_, shape.subject_of(row[shape.id_index]), shape.builder.build(row))
        self._loader.large_bodies.count(reservation)
        return reservation

    def _fail_invalid(self, shape: Shape, reservation_ids: Sequence[ReservationId]) -> None:
        for id_ in reservation_ids:
            for pending in self._wanting(id_):
                if isinstance(error := shape.conditions[pending.subscription], PayloadInvalid):
                    pending.fail(error)

    async def _report_filtered(self, reservation_ids: Sequence[ReservationId]) -> Collection[ReservationId]:
        """Report those that were not loaded to whoever does not get them; return those that are filtered if missing."""
        subscriptions = self._subscriptions(reservation_ids)
        if subscriptions <= {EVERYTHING}:
            return ()
        found = await find_unloaded(
            self._connection,
            self._loader.shape,
            reservation_ids,
            subscriptions,
            snapshot=self._snapshot,
            until=self._until,
        )
        self._fail_invalid(found.reading.shape, reservation_ids)
        for id_, rows in found.rows.items():
            for pending in self._wanting(id_):
                if not any(found.reading.meets(row, pending.subscription) for row in rows):
                    pending.filtered(id_)
        self._report(found.left_out, PendingLoad.filtered)
        self._report(found.postponed, PendingLoad.postponed)
        for id_, error in found.failed.items():
            self._failed(id_, error)
        return found.left_out_or_deleted

    async def _load_large(
        self, reservation_ids: Sequence[ReservationId], filtered_if_missing: Collection[ReservationId]
    ) -> None:
        parameters = {"payload": self._loader.payload, "reservation_ids": list(reservation_ids)}
        try:
            cursor = await run_isolated(
                self._connection, _queries["payload_sizes"].encode(), parameters, self._snapshot
            )
        except psycopg.Error as error:
            if may_pass(error, self._connection):
                raise
            self._failures.unreadable |= dict.fromkeys(reservation_ids, self._loader.describe(error))
            return
        sizes: dict[ReservationId, int | None] = {}
        capture_problem = None
        for key, size, capture_problem in await cursor.fetchall():  # noqa: B007 - all rows have the same
            id_ = ReservationId(key)
            sizes[id_] = size if sizes.get(id_) is None else max(sizes[id_] or 0, size)
        for id_, size in sizes.items():
            if size is None:
                self._report_missing(id_, capture_problem, is_filtered=id_ in filtered_if_missing)
            elif size > self._loader.max_body_bytes:
                for pending in self._wanting(id_):
                    pending.unreadable(id_, self._loader.too_large(size), alone_at_fault=True)
            else:
                await self._load_if_there_is_room(id_, size)

    def _report_missing(self, id_: ReservationId, capture_problem: str | None, *, is_filtered: bool) -> None:
        for pending in self._wanting(id_):
            if capture_problem is not None:
                pending.unreadable(id_, f"it is not found, but {capture_problem}", alone_at_fault=True)
            elif is_filtered:
                pending.filtered(id_)
            else:
                pending.deleted(id_)

    async def _load_if_there_is_room(self, id_: ReservationId, size: int) -> None:
        in_memory = self._loader.large_bodies.room_bytes
        for pending in self._wanting(id_):
            has_some = pending.room_bytes < ROOM_BYTES
            if (has_some and size > min(pending.room_bytes, in_memory)) or size > self._room_bytes < ROOM_BYTES:
                pending.postponed(id_)
        if loads := self._wanting(id_):
            self._room_bytes -= size
            for pending in loads:
                pending.room_bytes -= size
            await self._load_together([id_], self._loader.max_body_bytes)
            if id_ not in self._failures.unreadable:  # It may have grown or gone meanwhile; the next load finds out.
                self._report([id_], PendingLoad.postponed)

    def _report(
        self, reservation_ids: Collection[ReservationId], how: Callable[[PendingLoad, ReservationId], None]
    ) -> None:
        for id_ in reservation_ids:
            report(self._waiting[id_], id_, how)


async def load_alone(loader: PayloadLoader, connection: LoadingConnection, waiting: Waiting) -> Failures:
    """Load one reservation: whatever fails, while the session lasts, is its fault."""
    try:
        return await loader.load(connection, waiting)
    except psycopg.Error as error:
        if connection.closed:
            raise
        return Failures(dict.fromkeys(waiting, loader.describe(error)))
