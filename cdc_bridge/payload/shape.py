"""How the reservations of a payload are read now: statement, columns and their types, and the endpoints' conditions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import orjson
import psycopg
from psycopg import errors, sql

from cdc_bridge.database import problem_without_rows
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.payload.builder import BodyBuilder, Column
from cdc_bridge.payload.conditions import Conditions, KnownConditions, canonical_function, resolve
from cdc_bridge.payload.definition import INSTALL_MAPPING, PayloadDefinition, payload_definition
from cdc_bridge.payload.formats import FORMATTERS, Json, form_of
from cdc_bridge.payload.isolated import run_isolated
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection

_queries = load_queries(__name__)

_MAX_TRIES = 5
_SCHEMA = re.compile(r'(?:"(?:[^"]|"")+"|[^".]+)(?=\.)')
_BEFORE_THE_COLUMNS = 3  # whether the daemon is registered, key, revision


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A payload as it is defined now, and what becomes of its rows."""

    definition: PayloadDefinition
    types: Sequence[str]
    """The types that the columns have now."""
    id_index: int
    subject_of: Callable[[Json], str]
    builder: BodyBuilder
    conditions: Conditions
    """Those that were resolved."""
    _statements: dict[tuple[str, ...], bytes] = field(default_factory=dict)

    def columns_of(self, subscriptions: Collection[Subscription]) -> tuple[str, ...]:
        """Return the columns that conditions are about."""
        columns: set[str] = set()
        for subscription in subscriptions:
            if not isinstance(conditions := self.conditions[subscription], PayloadInvalid):
                columns.update(condition.column for condition in conditions)
        return tuple(sorted(columns))

    def statement(self, columns: tuple[str, ...]) -> bytes:
        """Return the statement that loads reservations, with the canonical text of some columns at the end."""
        if (found := self._statements.get(columns)) is None:
            found = self._statements[columns] = self._statement(columns)
        return found

    def reading(self, columns: tuple[str, ...]) -> Reading:
        """Return how the rows of that statement are read."""
        return Reading(self, _BEFORE_THE_COLUMNS + len(self.types), columns)

    def _statement(self, columns: tuple[str, ...]) -> bytes:
        definition = self.definition
        canonical = sql.SQL("").join(sql.SQL(", ") + each for each in canonical_texts(definition, columns))
        if list(self.types) == list(definition.types):
            statement = sql.SQL(_queries["load_reservations"]).format(loader=loader_of(definition), canonical=canonical)
        else:
            declared = [
                sql.SQL("{} pg_catalog.{}").format(sql.Identifier(f"cdc_bridge_{number}"), sql.Identifier(type_))
                for number, type_ in enumerate(self.types, start=1)
            ]
            statement = sql.SQL(_queries["load_retyped"]).format(
                declared=sql.SQL(", ").join(declared), canonical=canonical
            )
        return statement.as_bytes(None)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """How the rows of one statement are read."""

    shape: Shape
    first: int
    """Where the canonical texts begin in a row."""
    columns: tuple[str, ...]
    """The columns that they are of."""

    def meets(self, row: Sequence[Json], subscription: Subscription) -> bool:
        """Return whether a row meets an endpoint's conditions."""
        conditions = self.shape.conditions[subscription]
        return not isinstance(conditions, PayloadInvalid) and all(
            row[self.first + self.columns.index(condition.column)] in condition.values for condition in conditions
        )


class CurrentShape:
    """The shape of a payload as it was read last. It is read again when it turns out to be old."""

    def __init__(self, payload: str, known: KnownConditions) -> None:
        self.payload = payload
        self._known = known
        self._shape: Shape | None = None

    async def of(self, connection: LoadingConnection, subscriptions: Collection[Subscription]) -> Shape:
        """Return it, with the conditions of subscriptions resolved.

        Raises:
            PayloadInvalid: The payload is not defined, or a column has a type now that is written otherwise.
        """
        for _ in range(_MAX_TRIES):
            shape = self._shape or await self.renew(connection)
            if self._known.are_current(self.payload, shape.conditions) and await resolve(
                connection, shape.definition, shape.conditions, subscriptions
            ):
                return shape
            self.forget()
        raise defined_anew(self.payload)

    async def renew(self, connection: LoadingConnection, *, retyped: bool = False) -> Shape:
        """Read it.

        Args:
            connection: The connection.
            retyped: Whether e-Res may have altered types since the payload was defined.

        Raises:
            PayloadInvalid: The payload is not defined, or a column has a type now that is written otherwise.
        """
        self.forget()
        self._shape = shape = await self._read(connection, retyped=retyped)
        return shape

    def forget(self) -> None:
        """Note that it is old."""
        self._shape = None

    async def _read(self, connection: LoadingConnection, *, retyped: bool) -> Shape:
        definition = await payload_definition(connection, self.payload)
        types = await _present_types(connection, definition) if retyped else definition.types
        columns = [Column(name, type_) for name, type_ in zip(definition.columns, types, strict=True)]
        id_index = definition.columns.index("id")
        return Shape(
            definition,
            types,
            id_index + _BEFORE_THE_COLUMNS,
            _subject_formatter(types[id_index]),
            BodyBuilder(columns, _BEFORE_THE_COLUMNS),
            self._known.of(definition),
        )


def loader_of(definition: PayloadDefinition) -> sql.Composable:
    """Return the name of the function that loads reservations, in schema ``cdc_bridge``."""
    return sql.Identifier(f"load_{definition.name}")


def column_of(definition: PayloadDefinition, column: str) -> sql.Composable:
    """Return a column as SQL over ``p``, a row of that function: it numbers them."""
    return sql.Identifier("p", f"cdc_bridge_{definition.columns.index(column) + 1}")


def canonical_texts(definition: PayloadDefinition, columns: Sequence[str]) -> list[sql.Composable]:
    """Return the canonical text of columns as SQL over ``p``, a row of that function."""
    types = definition.type_of
    return [
        sql.SQL("cdc_bridge.{}({})").format(
            sql.Identifier(canonical_function(types[column])), column_of(definition, column)
        )
        for column in columns
    ]


def payload_does_not_fit(definition: PayloadDefinition, error: psycopg.Error) -> PayloadInvalid:
    """Return the error to raise if a payload's query fails before it reads a row."""
    payload = definition.name
    problem = f'the payload "{payload}" does not fit e-Res\'s tables: {problem_without_rows(error)}'
    if error.diag.source_function == "check_enable_rls":  # Its message is in the server's language.
        return PayloadInvalid(problem, "Run as a superuser: alter role cdc_bridge_loader bypassrls;")
    if isinstance(error, errors.InsufficientPrivilege):
        return PayloadInvalid(problem, f"Run as a DBA: {_grants(definition.reads)}")
    return PayloadInvalid(problem, f"Correct the mapping and run as a DBA: {INSTALL_MAPPING}")


def _grants(relations: Sequence[str]) -> str:
    """Return the statements that let the loader read relations; those that it has change nothing."""
    schemas = dict.fromkeys(found[0] for name in relations if (found := _SCHEMA.match(name)))
    return (
        f"grant usage on schema {', '.join(schemas)} to cdc_bridge_loader; "
        f"grant select on {', '.join(relations)} to cdc_bridge_loader;"
    )


def defined_anew(payload: str) -> PayloadInvalid:
    """Return the error to raise if a payload changes faster than it is read."""
    return PayloadInvalid(f'the payload "{payload}" is defined anew all the time', "Try again.")


async def _present_types(connection: LoadingConnection, definition: PayloadDefinition) -> Sequence[str]:
    statement = _queries["payload_types"].encode()
    cursor = await run_isolated(connection, statement, {"payload": definition.name})
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
            f'the payload "{definition.name}" has columns whose new type is written otherwise: {", ".join(changed)}',
            f"Define it anew, with casts where they are needed: {INSTALL_MAPPING}",
        )
    return tuple(types)


def _subject_formatter(key_type: str) -> Callable[[Json], str]:
    formatter = FORMATTERS.get(key_type, str)

    def subject_of(key: Json) -> str:
        formatted = formatter(key)
        return orjson.dumps(formatted).decode() if isinstance(formatted, orjson.Fragment) else formatted

    return subject_of
