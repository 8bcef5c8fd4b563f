"""Loads the reservations that an endpoint gets, many in one query.

One query is one snapshot: a reservation, its customer and its phone call are of one instant. It compares each key in
the key column's type, so a key that no longer fits the table is an error and is not taken for a deleted reservation.
One that is not found counts as deleted only if the table has its capture triggers: else it may be another table of the
same name, and the reservation is looked for again later. One that the payload leaves out, or that does not meet the
endpoint's conditions, is filtered: nothing of it is kept.

Memory is bounded by bytes. Most reservations have a few kilobytes: one query loads those of up to
:data:`SMALL_BYTES`. What it leaves out is measured, without being read, and loaded one by one as far as there is room.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

import orjson
import psycopg
from psycopg import errors, sql
from psycopg.rows import TupleRow

from cdc_bridge.database import condition_of, is_unavailable, problem_without_rows
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.payload.builder import BodyBuilder, Column
from cdc_bridge.payload.definition import INSTALL_MAPPING, PayloadDefinition, payload_definition
from cdc_bridge.payload.formats import FORMATTERS, Json, form_of
from cdc_bridge.payload.isolated import run_isolated
from cdc_bridge.payload.subscription import EVERYTHING, Subscription, condition_text
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection

_queries = load_queries(__name__)

SMALL_BYTES = 65_536
"""Size up to which reservations are loaded together."""

MAX_BODY_BYTES = 16_777_216
"""Default size of a body that is not sent any more."""

ROOM_BYTES = 16_777_216
"""Room for the bodies that are not small; one that has more is loaded if there is no other."""

_SEVERAL_ROWS = "the payload's query returns several rows for it; a join has more than one match"

_MAX_TRIES = 5
LONGEST_LOAD_SECONDS = 40.0
"""Time to halve in: enough to find one row among a hundred if each statement ends by its time-out, and below the limit
of an operation (:data:`~cdc_bridge.database.OPERATION_TIMEOUT_SECONDS`)."""
_BEFORE_THE_COLUMNS = 4  # fencing token, whether it meets the conditions, key, revision


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation as it was when it was loaded."""

    id: ReservationId
    subject: str
    """Its ``id`` as the body has it."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Loaded:
    """Some reservations. One that is in none of these was deleted."""

    reservations: dict[ReservationId, Reservation]
    fencing_token: int | None
    """The endpoint's fencing token in the last snapshot; ``None``: no endpoint was given, or nothing was found."""
    unreadable: dict[ReservationId, str] = field(default_factory=dict)
    """Those that cannot be loaded, as on a value that cannot be cast, and why."""
    postponed: frozenset[ReservationId] = frozenset()
    """Those for which there was no room in this load."""
    alone_at_fault: frozenset[ReservationId] = frozenset()
    """Those of the unreadable ones that say nothing of the others: too large, or missing where nothing is captured."""
    filtered: frozenset[ReservationId] = frozenset()
    """Those that the endpoint does not get."""

    def without(self, filtered: AbstractSet[ReservationId]) -> Loaded:
        """Return it without some reservations that the endpoint does not get."""
        unreadable = {id_: why for id_, why in self.unreadable.items() if id_ not in filtered}
        return replace(
            self,
            unreadable=unreadable,
            alone_at_fault=self.alone_at_fault - filtered,
            filtered=self.filtered | filtered,
        )

    def with_more(self, later: Loaded) -> Loaded:
        """Return it with what was loaded in a later snapshot."""
        return Loaded(
            self.reservations | later.reservations,
            self.fencing_token if later.fencing_token is None else later.fencing_token,
            self.unreadable | later.unreadable,
            self.postponed | later.postponed,
            self.alone_at_fault | later.alone_at_fault,
            self.filtered | later.filtered,
        )


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the payload's function is called, and what becomes of its rows."""

    definition: PayloadDefinition
    types: Sequence[str]
    """The types that the columns have now."""
    statement: bytes
    id_index: int
    subject_of: Callable[[Json], str] = field(compare=False)
    builder: BodyBuilder = field(compare=False)


class ReservationLoader:
    """Loads those of the reservations that an endpoint gets, by their keys.

    The definition is read once. When the payload is defined anew, or e-Res alters a column's type, the next load
    notices and continues with the new shape.
    """

    def __init__(
        self,
        subscription: Subscription = EVERYTHING,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        describe: Callable[[psycopg.Error], str] = condition_of,
    ) -> None:
        """Prepare to load.

        Args:
            subscription: What the endpoint gets.
            max_body_bytes: Size of a body that is not sent any more.
            describe: Words an error of a row; the default leaves out what may be a guest's.
        """
        self._subscription = subscription
        self._payload = subscription.payload
        self._max_body_bytes = max_body_bytes
        self._describe = describe
        self._shape: _Shape | None = None

    async def load(
        self,
        connection: LoadingConnection,
        reservation_ids: Sequence[ReservationId],
        endpoint_id: EndpointId | None = None,
        *,
        room_bytes: int = ROOM_BYTES,
        snapshot: str | None = None,
    ) -> Loaded:
        """Return those of the reservations that the endpoint gets; one that cannot be loaded does not hide the others.

        Args:
            connection: The connection.
            reservation_ids: Their keys.
            endpoint_id: The endpoint whose fencing token is read as well.
            room_bytes: What is left of :data:`ROOM_BYTES`. What does not fit is postponed.
            snapshot: A snapshot that another transaction exported, to read in; ``None``: a new one for each query.

        Raises:
            PayloadInvalid: The payload is not defined, what it reads is no longer there, or a condition does not fit.
        """
        until = monotonic() + LONGEST_LOAD_SECONDS
        loaded = await self._load_readable(connection, reservation_ids, endpoint_id, snapshot, until=until)
        known = loaded.reservations.keys() | loaded.postponed | loaded.filtered
        not_loaded = [id_ for id_ in dict.fromkeys(reservation_ids) if id_ not in known]
        filtered = await self._filtered(connection, not_loaded, snapshot)
        loaded = loaded.without({id_ for id_, exists in filtered.items() if exists})
        left = [id_ for id_ in not_loaded if id_ not in loaded.unreadable and id_ not in loaded.filtered]
        if not left:
            return loaded
        parameters = {"payload": self._payload, "reservation_ids": left}
        try:
            cursor = await run_isolated(connection, _queries["payload_sizes"].encode(), parameters, snapshot)
        except psycopg.Error as error:
            if _may_pass(error, connection):
                raise
            return loaded.with_more(Loaded({}, None, dict.fromkeys(left, self._describe(error))))
        for key, size, capture_problem in await cursor.fetchall():
            id_ = ReservationId(key)
            if size is None and capture_problem is None:
                if id_ in filtered:
                    loaded = loaded.without({id_})
            elif size is None or size > self._max_body_bytes:
                reason = f"it is not found, but {capture_problem}" if size is None else self._too_large(size)
                loaded = loaded.with_more(Loaded({}, None, {id_: reason}, alone_at_fault=frozenset({id_})))
            elif size > room_bytes < ROOM_BYTES:
                loaded = loaded.with_more(Loaded({}, None, postponed=frozenset({id_})))
            else:
                room_bytes -= size
                loaded = loaded.with_more(await self._load_alone(connection, id_, endpoint_id, snapshot))
        return loaded

    async def _filtered(
        self, connection: LoadingConnection, reservation_ids: Sequence[ReservationId], snapshot: str | None
    ) -> dict[ReservationId, bool]:
        """Return those of the reservations that the endpoint does not get, and whether they are known to exist.

        What makes a row unreadable need not be in the columns that the conditions are about: a reservation that is not
        wanted keeps nobody waiting.
        """
        if not reservation_ids or self._subscription == EVERYTHING:
            return {}
        parameters = self._subscription.parameters | {"reservation_ids": list(reservation_ids)}
        try:
            cursor = await run_isolated(connection, _queries["payload_filtered"].encode(), parameters, snapshot)
        except psycopg.Error as error:
            if _may_pass(error, connection):
                raise
            if len(reservation_ids) == 1:
                return {}
            found: dict[ReservationId, bool] = {}
            for id_ in reservation_ids:
                found |= await self._filtered(connection, [id_], snapshot)
            return found
        return {ReservationId(key): exists is not None for key, exists in await cursor.fetchall()}

    async def load_each(
        self,
        connection: LoadingConnection,
        reservation_ids: Sequence[ReservationId],
        endpoint_id: EndpointId | None = None,
        *,
        room_bytes: int = ROOM_BYTES,
    ) -> Loaded:
        """Load each reservation by itself: whatever fails, while the session lasts, is that one's fault.

        Raises:
            PayloadInvalid: The payload is not defined, or what it reads is no longer there.
        """
        loaded = Loaded({}, None)
        for id_ in reservation_ids:
            try:
                more = await self.load(connection, [id_], endpoint_id, room_bytes=room_bytes)
            except psycopg.Error as error:
                if connection.closed:
                    raise
                more = Loaded({}, None, {id_: self._describe(error)})
            loaded = loaded.with_more(more)
        return loaded

    async def require_valid(self, connection: LoadingConnection) -> None:
        """Make sure that the payload's query fits e-Res's tables; reads no reservation.

        Raises:
            PayloadInvalid: It does not.
        """
        try:
            await self._load_some(connection, [], None, 0, None)
        except psycopg.Error as error:
            if _may_pass(error, connection):
                raise
            raise self._invalid(error) from error

    async def _load_alone(
        self, connection: LoadingConnection, id_: ReservationId, endpoint_id: EndpointId | None, snapshot: str | None
    ) -> Loaded:
        loaded = await self._load_readable(connection, [id_], endpoint_id, snapshot, self._max_body_bytes)
        if loaded == Loaded({}, None):  # It has grown or gone meanwhile; the next load tells.
            return Loaded({}, None, postponed=frozenset({id_}))
        return loaded

    async def _load_readable(
        self,
        connection: LoadingConnection,
        reservation_ids: Sequence[ReservationId],
        endpoint_id: EndpointId | None,
        snapshot: str | None,
        max_bytes: int = SMALL_BYTES,
        *,
        until: float = math.inf,
    ) -> Loaded:
        """Halve the keys until those that fail are found.

        When the time has come, the rest is postponed: what is loaded is not lost.
        """
        if monotonic() > until:
            return Loaded({}, None, postponed=frozenset(reservation_ids))
        try:
            max_bytes = min(max_bytes, self._max_body_bytes)
            return await self._load_some(connection, reservation_ids, endpoint_id, max_bytes, snapshot)
        except psycopg.Error as error:
            if _may_pass(error, connection):
                raise
            await self.require_valid(connection)
            if len(reservation_ids) == 1:
                return Loaded({}, None, {reservation_ids[0]: self._describe(error)})
        half = len(reservation_ids) // 2
        load = partial(
            self._load_readable,
            connection,
            endpoint_id=endpoint_id,
            snapshot=snapshot,
            max_bytes=max_bytes,
            until=until,
        )
        earlier = await load(reservation_ids=reservation_ids[:half])
        return earlier.with_more(await load(reservation_ids=reservation_ids[half:]))

    async def _load_some(
        self,
        connection: LoadingConnection,
        reservation_ids: Sequence[ReservationId],
        endpoint_id: EndpointId | None,
        max_bytes: int,
        snapshot: str | None,
    ) -> Loaded:
        """Load reservations of limited size with the shape that the payload has now."""
        parameters = {"reservation_ids": list(reservation_ids), "endpoint_id": endpoint_id, "max_bytes": max_bytes}
        for _ in range(_MAX_TRIES):
            shape = self._shape or await self._read_shape(connection)
            try:
                cursor = await run_isolated(connection, shape.statement, parameters, snapshot)
                rows = await cursor.fetchall()
            except errors.DatatypeMismatch:  # e-Res altered a column's type.
                self._shape = None
                if (await self._read_shape(connection, retyped=True)).types == shape.types:
                    raise
            except psycopg.Error as error:
                if (
                    _may_pass(error, connection)
                    or await payload_definition(connection, self._payload) == shape.definition
                ):
                    raise
                self._shape = None  # It was just defined anew, with other columns or types.
            else:
                if not rows or rows[0][3] == shape.definition.revision:
                    return self._loaded(shape, rows)
                self._shape = None
        raise PayloadInvalid(f'the payload "{self._payload}" is defined anew all the time', "Try again.")

    async def _read_shape(self, connection: LoadingConnection, *, retyped: bool = False) -> _Shape:
        definition = await payload_definition(connection, self._payload)
        types = await self._present_types(connection, definition) if retyped else definition.types
        condition = sql.SQL(_escaped(await condition_text(connection, self._subscription)))
        loader = sql.Identifier(f"load_{self._payload}")
        names = [sql.SQL(_escaped(sql.Identifier(name).as_string(connection))) for name in definition.columns]
        comma = sql.SQL(", ")
        if list(types) == list(definition.types):
            given = comma.join([sql.SQL("cdc_bridge_key, cdc_bridge_revision"), *names])
            statement = sql.SQL(_queries["load_reservations"]).format(
                loader=loader,
                condition=condition,
                names=sql.SQL("({})").format(given) if self._subscription.conditions else sql.SQL(""),
            )
        else:
            declared = [
                sql.SQL("{} pg_catalog.{}").format(name, sql.Identifier(type_))
                for name, type_ in zip(names, types, strict=True)
            ]
            statement = sql.SQL(_queries["load_retyped"]).format(
                payload=sql.Literal(self._payload), condition=condition, declared=comma.join(declared)
            )
        columns = [Column(name, type_) for name, type_ in zip(definition.columns, types, strict=True)]
        id_index = definition.columns.index("id")
        self._shape = _Shape(
            definition,
            types,
            statement.as_bytes(connection),
            id_index + _BEFORE_THE_COLUMNS,
            _subject_formatter(types[id_index]),
            BodyBuilder(columns, _BEFORE_THE_COLUMNS),
        )
        return self._shape

    async def _present_types(self, connection: LoadingConnection, definition: PayloadDefinition) -> Sequence[str]:
        statement = _queries["payload_types"].encode()
        cursor = await run_isolated(connection, statement, {"payload": self._payload})
        ((types,),) = await cursor.fetchall()
        changed = [
            f"{column} ({before}, now {now or 'a type of its own'})"
            for column, before, now in zip(definition.columns, definition.types, types, strict=True)
            # Keys are compared as they were captured, and char(n) compares them without its blanks.
            if now is None
            or form_of(now) != form_of(before)
            or (column == "id" and (now == "bpchar") != (before == "bpchar"))
        ]
        if changed:
            raise PayloadInvalid(
                f'the payload "{self._payload}" has columns whose new type is written otherwise: {", ".join(changed)}',
                f"Define it anew, with casts where they are needed: {INSTALL_MAPPING}",
            )
        return tuple(types)

    def _invalid(self, error: psycopg.Error) -> PayloadInvalid:
        problem = f'the payload "{self._payload}" does not fit e-Res\'s tables: {problem_without_rows(error)}'
        if error.diag.source_function == "check_enable_rls":  # Its message is in the server's language.
            return PayloadInvalid(problem, "Run as a superuser: alter role cdc_bridge_loader bypassrls;")
        if isinstance(error, errors.InsufficientPrivilege):
            return PayloadInvalid(problem, "Run as a DBA: grant select on TABLE to cdc_bridge_loader;")
        return PayloadInvalid(problem, f"Correct the mapping and run as a DBA: {INSTALL_MAPPING}")

    def _loaded(self, shape: _Shape, rows: Sequence[TupleRow]) -> Loaded:
        build, id_index, subject_of = shape.builder.build, shape.id_index, shape.subject_of
        reservations: dict[ReservationId, Reservation] = {}
        unreadable: dict[ReservationId, str] = {}
        filtered: set[ReservationId] = set()
        for row in rows:  # This is done for every request.
            if (key := row[id_index]) is None:
                continue
            id_ = row[2]
            if row[1] is None:
                filtered.add(id_)
                continue
            body = build(row)
            if id_ in reservations or id_ in unreadable:
                reservations.pop(id_, None)
                unreadable[id_] = _SEVERAL_ROWS
            elif len(body) > self._max_body_bytes:  # Escapes count.
                unreadable[id_] = self._too_large(len(body))
            else:
                reservations[id_] = Reservation(id_, subject_of(key), body)
        token = rows[0][0] if reservations else None
        alone_at_fault = frozenset(unreadable)
        return Loaded(
            reservations,
            None if token is None else int(token),
            unreadable,
            alone_at_fault=alone_at_fault,
            filtered=frozenset(filtered - reservations.keys() - unreadable.keys()),
        )

    def _too_large(self, size: int) -> str:
        return f"its body has about {size:,} bytes, more than max_body_bytes ({self._max_body_bytes:,})"


def _may_pass(error: psycopg.Error, connection: LoadingConnection) -> bool:
    """Return whether trying again may help."""
    # The transaction is read-only on purpose, and the time is limited: a row that needs more is at fault itself.
    at_fault = isinstance(error, errors.ReadOnlySqlTransaction | errors.QueryCanceled)
    return connection.closed or (not at_fault and is_unavailable(error, connection))


def _escaped(text: str) -> str:
    """Return SQL for a statement with psycopg's parameters."""
    return text.replace("%", "%%")


def _subject_formatter(key_type: str) -> Callable[[Json], str]:
    formatter = FORMATTERS.get(key_type, str)

    def subject_of(key: Json) -> str:
        formatted = formatter(key)
        return orjson.dumps(formatted).decode() if isinstance(formatted, orjson.Fragment) else formatted

    return subject_of
