"""How tables are joined to the reservations: with one row at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count

from cdc_bridge.mapping.catalogue import Catalogue, Column, ForeignKey, Table
from cdc_bridge.mapping.expressions import INTEGERS, TEXTS, TIMES, is_flag, one_of
from cdc_bridge.mapping.words import slug, vocabulary, words_of
from cdc_bridge.sql_names import literal, quoted

RESERVATION, CUSTOMER, CALL = "r", "c", "k"
"""Aliases."""
FIRST, SECOND = "x", "y"
"""Aliases inside of a subquery."""
_LONG_MARK = 5
_LONGEST_ALIAS, _LONGEST_NAME = 63, 48
"""PostgreSQL cuts off what is longer."""


@dataclass(frozen=True, slots=True)
class Join:
    """A table that is joined."""

    alias: str
    table: Table
    text: str
    reads: tuple[Table, ...]
    """The tables that it names."""
    optional: bool
    """Whether it may find no row."""
    needs: tuple[str, ...] = ()
    """Aliases that it refers to, other than the reservation's."""
    picks: bool = False
    """Whether it picks one of several rows."""
    doubt: str = ""
    """What a person should look at."""


class Joins:
    """The joins that a draft may use, by their aliases."""

    def __init__(self, reservation: Table) -> None:
        """Begin with the reservations alone."""
        self._reservation = reservation
        self._joins: dict[str, Join] = {}

    def __contains__(self, alias: str) -> bool:
        """Return whether there is a join of an alias."""
        return alias in self._joins

    def __getitem__(self, alias: str) -> Join:
        """Return the join of an alias."""
        return self._joins[alias]

    def table_of(self, alias: str) -> Table:
        """Return the table that has an alias."""
        return self._reservation if alias == RESERVATION else self._joins[alias].table

    def with_those_needed(self, alias: str) -> tuple[str, ...]:
        """Return an alias behind those that its join refers to."""
        return () if alias == RESERVATION else (*self._joins[alias].needs, alias)

    def is_optional(self, alias: str) -> bool:
        """Return whether a row may be missing."""
        return any(self._joins[each].optional for each in self.with_those_needed(alias))

    def unused(self, alias: str) -> str:
        """Return an alias, with a number if there is a join of that name."""
        numbered = (f"{alias}_{number}" for number in count(2))
        return next(each for each in chain([alias], numbered) if each not in self)

    def add(self, join: Join) -> None:
        """Add a join."""
        self._joins[join.alias] = join

    def parent(self, key: ForeignKey, table: Table, of: str) -> str:
        """Join a table that another refers to, unless it is, and return its alias.

        Args:
            key: The reference.
            table: The table that it refers to.
            of: Alias of the table that refers.
        """
        text = _parent_text("{}", table, key, of)
        for alias in _aliases(table, key):
            taken = self._joins.get(alias)
            if taken is None:
                optional = not key.declared or not all(self.table_of(of).columns[each].not_null for each in key.columns)
                needs = self.with_those_needed(of)
                self.add(Join(alias, table, text.replace("{}", alias), (table,), optional, needs))
                return alias
            if taken.text == text.replace("{}", alias):
                return alias
        raise AssertionError("there is always another alias")

    def in_use(self, aliases: set[str]) -> list[Join]:
        """Return the joins of some aliases, and those that they refer to, in an order in which they can stand."""
        wanted = {needed for alias in aliases for needed in self.with_those_needed(alias)}
        return [join for alias, join in self._joins.items() if alias in wanted]


def _aliases(table: Table, key: ForeignKey) -> Iterator[str]:
    """Yield aliases for a table: its name, or with the column that refers to it."""
    simple = alias_of(table)
    yield simple
    yield f"{simple}_{slug(key.column)}"[:_LONGEST_ALIAS]
    yield from (f"{simple}_{number}" for number in count(2))


def alias_of(table: Table) -> str:
    """Return an alias that tells a table's name, needs no quotes and has room for a suffix."""
    name = slug(table.name)[:_LONGEST_NAME] or "t"
    if name[0].isdecimal():
        return f"t_{name}"
    return name if quoted(name) == name and len(name) > 1 else f"{name}_1"


def following(key: ForeignKey, child: str, parent: str) -> str:
    """Return the condition that two rows are connected by a reference, seen from the one that refers."""
    pairs = [
        f"{child}.{quoted(column)} = {parent}.{quoted(to)}"
        for column, to in zip(key.columns, key.referenced, strict=True)
    ]
    if key.kind is not None:
        pairs.append(f"{child}.{quoted(key.kind[0])} = {literal(key.kind[1])}")
    return " and ".join(pairs)


def leading_to(key: ForeignKey, parent: str, child: str) -> str:
    """Return the same condition, seen from the row that is referred to."""
    return " and ".join(f"{parent}.{quoted(to)} = {child}.{quoted(column)}" for column, to in key.pairs)


def _parent_text(alias: str, table: Table, key: ForeignKey, of: str) -> str:
    return f"left join {written(table)} {alias} on {leading_to(key, alias, of)}"


def join_to(
    catalogue: Catalogue, alias: str, table: Table, of: Table, of_alias: str, *, by: ForeignKey | None = None
) -> Join | None:
    """Return how a table is joined to another: it is referred to, refers, or a third one refers to both.

    If there are several rows, the one that is marked is taken, or the first. ``None``: nothing connects the two.
    """
    if references := _named_after_first(of, table):
        key = references[0]
        optional = not key.declared or not all(of.columns[column].not_null for column in key.columns)
        return Join(alias, table, _parent_text(alias, table, key, of_alias), (table,), optional)
    for child, key in [(table, by)] if by is not None else catalogue.children(of):
        if child is table and table.is_unique(*key.columns):
            condition = following(key, alias, of_alias)
            return Join(alias, table, f"left join {written(table)} {alias} on {condition}", (table,), optional=True)
        if child is table:
            condition = following(key, FIRST, of_alias)
            inner = f"select {FIRST}.* from {written(table)} {FIRST} where {condition}"
            return _picked(alias, table, inner, first_of(table, FIRST, key.columns), (table,))
    between = [
        (child, key, other)
        for child, key in catalogue.children(of)
        for other in child.foreign_keys
        if other.table == table.oid and other is not key
    ]
    if not between:
        return None
    child, key, other = max(between, key=lambda each: (is_between(each[0]), _names_both(each[0], of, table)))
    inner = (
        f"select {SECOND}.* from {written(child)} {FIRST} "
        f"join {written(table)} {SECOND} on {leading_to(other, SECOND, FIRST)} "
        f"where {following(key, FIRST, of_alias)}"
    )
    order = [*first_of(child, FIRST, key.columns), *(f"{SECOND}.{quoted(column)}" for column in other.referenced)]
    return _picked(alias, table, inner, order, (child, table))


def is_between(table: Table) -> bool:
    """Return whether a table only connects others."""
    references = {column for key in table.foreign_keys for column in key.columns}
    return bool(table.primary_key) and set(table.primary_key) <= references


def _names_both(table: Table, *others: Table) -> bool:
    words = set(words_of(table.name))
    return all(words & set(words_of(other.name)) for other in others)


def _named_after_first(of: Table, table: Table) -> list[ForeignKey]:
    """Return the references of one table to another, the one that is named after it first."""
    found = [key for key in of.foreign_keys if key.table == table.oid]
    words = words_of(table.name)
    return sorted(found, key=lambda key: (not set(words_of(key.column)) & set(words), key.columns))


def _picked(alias: str, table: Table, inner: str, order: Sequence[str], reads: tuple[Table, ...]) -> Join:
    text = f"left join lateral (\n  {inner}\n  {first_in(order)}\n) {alias} on true"
    doubt = "" if _marking(reads[0], FIRST) else f"the first of several rows of {reads[0]}: see order by at its join"
    return Join(alias, table, text, reads, optional=True, picks=True, doubt=doubt)


def first_of(table: Table, alias: str, but: Sequence[str] = ()) -> list[str]:
    """Return an order in which the row that is marked comes first, or else the oldest.

    Args:
        table: The table.
        alias: Its alias.
        but: Columns in which all rows are the same.
    """
    order = _marking(table, alias)
    times = [column for column in table.columns.values() if column.type_ in TIMES]
    if not order and times:
        order.append(f"{alias}.{quoted(times[0].name)}")
    keys = [
        column.name
        for column in table.columns.values()
        if column.type_ in INTEGERS | TEXTS | {"uuid"} and column.name not in but
    ]
    own_key = [column for column in table.primary_key if column not in but]
    return list(dict.fromkeys([*order, *(f"{alias}.{quoted(column)}" for column in own_key or keys[:2])]))


def first_in(order: Sequence[str]) -> str:
    """Return the end of a query that returns the first row in an order, or any if nothing tells them apart."""
    return f"order by {', '.join(dict.fromkeys(order))} limit 1" if order else "limit 1"


def _marking(table: Table, alias: str) -> list[str]:
    """Return an order by the columns that say which row comes first: by a flag, a value such as a role, or a place."""
    order, own, marks = [], set(words_of(table.name)), vocabulary().marks
    for column in table.columns.values():
        words, name = set(words_of(column.name)), f"{alias}.{quoted(column.name)}"
        words = words - own or words
        if words & marks["lead"] and is_flag(column):
            order.append(f"{name} desc nulls last")
        elif leading := [value for value, said in _said_by(column).items() if _leads(said)]:
            order.append(f"{one_of(name, leading)} desc nulls last")
        elif words & marks["place"] and column.type_ in INTEGERS:
            order.append(name)
    return order


def _said_by(column: Column) -> dict[str, str]:
    return column.codes or {value: value for value in column.values}


def _leads(said: str) -> bool:
    """Return whether a value such as lead booker or Hauptgast is that of the row that comes first."""
    begin = tuple(mark for mark in vocabulary().marks["lead"] if len(mark) >= _LONG_MARK)
    return any(word in vocabulary().marks["lead"] or word.startswith(begin) for word in words_of(said))


def written(table: Table) -> str:
    """Return a table as it is written in SQL: its name with its schema, or all tables that its rows are spread over."""
    if not table.shards:
        return names_of(table)[0]
    return f"({' union all '.join(f'select * from {name}' for name in names_of(table))})"


def names_of(table: Table) -> list[str]:
    """Return the names that a table's rows stand under, with their schemas."""
    return [f"{quoted(schema)}.{quoted(table.name)}" for schema in table.shards or (table.schema,)]
