"""Columns whose text is no value of the contract: a key or a flag that was made text.

A number, a uuid and a boolean are sent in the contract's form by themselves. Cast to text, they are sent as PostgreSQL
writes them, such as "920", which is no key, or "true", which is no flag. Which text an expression makes is found out
with values of ours in place of such columns. Nobody can tell what a column of text holds: ``check --sample`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

from cdc_bridge.errors import shortened
from cdc_bridge.mapping_check.conditions import aliases_in, columns_in
from cdc_bridge.mapping_check.examined_payload import ExaminedPayload
from cdc_bridge.mapping_check.fault import Found
from cdc_bridge.mapping_check.query_text import Item
from cdc_bridge.mapping_check.trial import Rejection
from cdc_bridge.mapping_check.values import neutral
from cdc_bridge.payload.formats import TEXT_TYPES
from cdc_bridge.sql_names import literal, quoted
from cdc_bridge.vendor.contract import is_text_in

_NUMBER, _BOOLEAN, _UUID = "1", "true", "'5d9db746-4f1e-447a-93d3-9450253c67b2'"
_VALUES = dict.fromkeys(("smallint", "integer", "bigint", "numeric"), _NUMBER) | {"boolean": _BOOLEAN, "uuid": _UUID}
"""By the type of a column, as SQL."""

_Types = Mapping[tuple[str, str], str]
"""The type of each column that an expression names, by its table's alias and its name."""


async def text_faults(payload: ExaminedPayload) -> list[Found]:
    """Return columns whose text is no value of the contract, each with what to write."""
    found: list[Found] = []
    for item, column in payload:
        form = payload.forms.get(column.name, "text")
        if form == "text" or column.type_ not in TEXT_TYPES:
            continue
        types = _types(payload, item)
        text = None if types is None else await _text_of(payload, item, types)
        if types is None or text is None or is_text_in(form, text):
            continue
        value = _in_form(form, types, text)
        problem = f"{column.name} is {'text such as' if types else 'the text'} {literal(shortened(text))}, not {form}"
        found.append(payload.rewritten(item, column, problem, value or neutral(form), is_certain=value is not None))
    return found


def _types(payload: ExaminedPayload, item: Item) -> _Types | None:
    """Return the types of the columns that an item names; ``None``: there is no value of ours for each of them."""
    aliases, bare = aliases_in(item.expression)
    columns = columns_in(item.expression)
    if bare or aliases != {alias for alias, _ in columns}:
        return None
    tables = {alias: payload.joined[alias].table for alias in aliases & payload.joined.keys()}
    known = {alias: table.types for alias, table in tables.items() if table is not None}
    types = {(alias, name): known.get(alias, {}).get(name, "") for alias, name in columns}
    return types if all(map(_value_of, types.values())) else None


def _value_of(type_: str) -> str | None:
    return _VALUES.get(type_.partition("(")[0])


async def _text_of(payload: ExaminedPayload, item: Item, types: _Types) -> str | None:
    """Return the text that an item makes of values of ours; ``None``: it is null, or nobody can tell."""
    expression = payload.text(item.expression)
    probe = await payload.probe(expression)
    if isinstance(probe, Rejection) or probe.runs_code:
        return None
    values: dict[str, dict[str, str]] = {}
    for (alias, name), type_ in types.items():
        values.setdefault(alias, {})[name] = f"{_value_of(type_)}::{type_}"
    return await payload.trial.text_of(expression, values)


def _in_form(form: str, types: _Types, text: str) -> str | None:
    """Return the column that was made text, in the form of the contract; ``None``: only the author can tell."""
    if len(types) != 1:
        return None
    (((alias, name), type_),) = types.items()
    column, value = f"{quoted(alias)}.{quoted(name)}", _value_of(type_)
    if form != "flag":
        return column if value != _BOOLEAN else None
    if text != value:  # It says something else than the column, perhaps the opposite.
        return None
    return column if value == _BOOLEAN else f"({column} <> 0)"
