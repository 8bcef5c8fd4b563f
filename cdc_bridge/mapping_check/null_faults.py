"""Columns that may be null where the contract has no null, and those that keep an object from being null.

The catalogue knows which columns are never null, and which joined tables always have a row. An expression is evaluated
over nulls, if it calls PostgreSQL's own functions only. What neither can tell is not reported.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdc_bridge.mapping_check.conditions import aliases_in, columns_in
from cdc_bridge.mapping_check.examined_payload import ExaminedPayload
from cdc_bridge.mapping_check.fault import Found
from cdc_bridge.mapping_check.lexer import Kind, Token
from cdc_bridge.mapping_check.query_text import Item
from cdc_bridge.mapping_check.trial import Column
from cdc_bridge.mapping_check.values import guarded, neutral, without_null
from cdc_bridge.payload.formats import TEXT_TYPES


async def null_faults(payload: ExaminedPayload) -> list[Found]:
    """Return columns that may be null, each with what to write in place of null."""
    found: list[Found] = []
    for item, column in payload:
        form = payload.forms.get(column.name)
        if form is None or not await _may_be_null(payload, item, column.name):
            continue
        value = _never_null(payload, item, column, form)
        if value is not None and value != payload.text(item.expression):
            problem = f"{column.name} may be null, which the contract does not allow"
            found.append(payload.rewritten(item, column, problem, value))
    return found


async def object_faults(payload: ExaminedPayload) -> list[Found]:
    """Return columns that have a value where their object does not exist, each with one that has none."""
    found: list[Found] = []
    for item, column in payload:
        key = column.name
        if key not in payload.forms or not (payload.guard(key) or payload.has_no_source(key)):
            continue
        if await _can_be_null(payload, item):
            continue
        object_ = key.partition(".")[0]
        problem = f"{key} is never null, so {object_} is never null, even where there is none"
        found.append(payload.rewritten(item, column, problem, _null_without_object(payload, item, column)))
    return found


async def _may_be_null(payload: ExaminedPayload, item: Item, key: str) -> bool:
    """Return whether a column is null for some reservation, and its object is not."""
    aliases, bare = aliases_in(item.expression)
    if not aliases and not bare:
        return not payload.has_no_source(key) and await payload.is_null_without(item, set()) is True
    if bare or len(aliases) != 1:
        return False
    joined = payload.joined.get(next(iter(aliases)))
    if joined is None or joined.table is None or not joined.table.is_table or joined.may_be_missing is None:
        return False
    if (guard := payload.guard(key)) and payload.own_guard(item) == guard:
        return False
    columns = columns_in(item.expression)
    nullable = len(columns) == 1 and not joined.table.columns.get(next(iter(columns))[1], True)
    if not nullable and (not joined.may_be_missing or guard):
        return False
    return item.column is not None or await payload.is_null_without(item, aliases) is True


def _never_null(payload: ExaminedPayload, item: Item, column: Column, form: str) -> str | None:
    """Return what to write; ``None``: the contract allows null."""
    guard, expression = payload.guard(column.name), payload.text(item.expression)
    if not aliases_in(item.expression)[0]:
        wanted = without_null(form, column.type_, expression) is not None
        return neutral(form, guard, in_object=bool(guard)) if wanted else None
    value = without_null(form, column.type_, expression)
    return guarded(guard, value) if value is not None and guard else value


async def _can_be_null(payload: ExaminedPayload, item: Item) -> bool:
    """Return whether a column is null where its object does not exist; also if nobody can tell."""
    aliases, bare = aliases_in(item.expression)
    if bare:
        return True
    missing = {alias for alias in aliases if alias in payload.joined and payload.joined[alias].may_be_missing}
    if aliases == missing:
        return await payload.is_null_without(item, aliases) is not False
    joined = payload.joined.get(item.column[0]) if item.column is not None else None
    if item.column is None or joined is None or joined.table is None or not joined.table.is_table:
        return True
    return not joined.table.columns.get(item.column[1])


def _null_without_object(payload: ExaminedPayload, item: Item, column: Column) -> str:
    form, guard = payload.forms[column.name], payload.guard(column.name)
    if not aliases_in(item.expression)[0]:
        return neutral(form, guard, in_object=True)
    without = _without_coalesce(item)
    if without is not None and column.type_ in TEXT_TYPES and form != "flag":
        return payload.text(without)  # Null text becomes "" in any case.
    return guarded(guard, payload.text(item.expression))


def _without_coalesce(item: Item) -> Sequence[Token] | None:
    """Return the column of ``coalesce(column, 'text')``."""
    match item.expression:
        case (function, opening, table, dot, column, comma, value, closing) if (
            function.is_word("coalesce")
            and (opening.text, dot.text, comma.text, closing.text) == ("(", ".", ",", ")")
            and value.kind is Kind.STRING
        ):
            return (table, dot, column)
    return None
