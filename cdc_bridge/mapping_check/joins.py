"""Which joined tables may have no row, and which may have several, as the catalogue tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdc_bridge.mapping_check.catalog import Table
from cdc_bridge.mapping_check.conditions import Condition, aliases_in
from cdc_bridge.mapping_check.from_clause import Relation
from cdc_bridge.mapping_check.lexer import Token
from cdc_bridge.mapping_check.query_text import QueryText


@dataclass(frozen=True, slots=True)
class Joined:
    """A relation of a query."""

    relation: Relation
    table: Table | None
    may_be_missing: bool | None
    """``None``: the catalogue cannot tell."""
    multiplies: bool
    """Whether one row may become several, for certain."""
    guard: str
    """Condition that tells whether it has a row; empty: there is none."""


def joined(query: QueryText, tables: Mapping[str, Table | None]) -> dict[str, Joined]:
    """Return the relations of a query by their aliases.

    Args:
        query: The query.
        tables: Those that its relations take their columns from, by alias.
    """
    found: dict[str, Joined] = {}
    certain = all(relation.kind not in {"right", "full"} for relation in query.relations)
    for relation in query.relations:
        table = tables.get(relation.alias)
        pairs = _pairs(relation, (*relation.conditions, *query.where), set(found))
        bound = {column for column, _ in pairs} | set(relation.using)
        missing: bool | None = None
        if certain:
            missing = relation.kind == "left"
            if missing and _refers(relation, table, pairs, found):
                missing = False
            elif missing and table is None:
                missing = None
        guard_column = next((column for column, _ in pairs), None) or next(iter(relation.using), None)
        if guard_column is None and table is not None and relation.single and table.unique:
            guard_column = table.unique[0][0]
        found[relation.alias] = Joined(
            relation,
            table,
            missing,
            relation.kind != "first" and _multiplies(relation, table, bound),
            f"{relation.alias}.{guard_column} is not null" if guard_column and relation.kind == "left" else "",
        )
    return found


def _pairs(
    relation: Relation, conditions: tuple[Condition, ...], before: set[str]
) -> list[tuple[str, tuple[str, str] | None]]:
    """Return the columns that conditions fix to one value, each with the column that this is, if it is one."""
    pairs: list[tuple[str, tuple[str, str] | None]] = []
    for condition in conditions:
        if condition.sides is None:
            continue
        for side, other in (condition.sides, condition.sides[::-1]):
            column = column_in(side)
            aliases, bare = aliases_in(other)
            if column is not None and column[0] == relation.alias and not bare and aliases <= before:
                pairs.append((column[1], column_in(other)))
    return pairs


def column_in(tokens: tuple[Token, ...]) -> tuple[str, str] | None:
    """Return table alias and column, if tokens are nothing else."""
    match tokens:
        case (table, dot, column) if table.is_name and dot.text == "." and column.is_name:
            return table.name, column.name
    return None


def _refers(
    relation: Relation,
    table: Table | None,
    pairs: list[tuple[str, tuple[str, str] | None]],
    before: Mapping[str, Joined],
) -> bool:
    """Return whether a foreign key that is never null makes sure of a row."""
    referring = {other[0] for _, other in pairs if other is not None}
    if table is None or len(referring) != 1 or len(pairs) != len(relation.conditions) or relation.using:
        return False
    source = before[referring.pop()]
    if source.table is None or source.may_be_missing is not False:
        return False
    wanted = {(other[1], column) for column, other in pairs if other is not None}
    return any(
        key.table == table.oid
        and set(zip(key.columns, key.other_columns, strict=True)) == wanted
        and all(source.table.columns.get(column) for column in key.columns)
        for key in source.table.foreign_keys
    )


def _multiplies(relation: Relation, table: Table | None, bound: set[str]) -> bool:
    if relation.single or not relation.path or table is None or not table.is_table:
        return False
    if relation.condition and not relation.conditions:
        return False
    if any(side[0].is_word("null") for condition in relation.conditions for side in condition.sides or ()):
        return False  # It stands in for a condition that is faulty.
    return not any(set(columns) <= bound for columns in (*table.unique, *table.uncertain))
