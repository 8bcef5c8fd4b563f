"""What to write for a key of the contract: casts of a column, values in place of null, and values without a source."""

from __future__ import annotations

import re

from cdc_bridge.mapping_check.lexer import Kind, tokens_of
from cdc_bridge.payload.formats import TEXT_TYPES

DEFAULT_ZONE = "Europe/London"

_INTEGERS = frozenset({"int2", "int4", "int8"})
_NEUTRAL = {"flag": "'F'", "count": "0", "amount": "0", "instant": "null::timestamptz"}
_NULL = {"count": "null::integer", "amount": "null::numeric", "instant": "null::timestamptz"}


def zone_in(text: str) -> str:
    """Return the time zone that a mapping names, or the one of our examples."""
    named = re.search(r"at\s+time\s+zone\s+'+([A-Za-z_]+/[A-Za-z_/]+)'", text, re.IGNORECASE)
    return named[1] if named else DEFAULT_ZONE


def operand(expression: str) -> str:
    """Return an expression so that a cast of it is one of all of it."""
    tokens = tokens_of(expression)
    depth = 0
    for number, token in enumerate(tokens):
        opens = token.is_symbol("(", "[")
        if opens and not depth and number and not tokens[number - 1].is_name:
            return f"({expression})"
        depth += opens - token.is_symbol(")", "]")
        part_of_name = token.is_name or token.is_symbol(".", "::", "(", ")", "[", "]")
        if not depth and not part_of_name and not (len(tokens) == 1 or token.kind in {Kind.STRING, Kind.NUMBER}):
            return f"({expression})"
        if not depth and number and token.is_name and tokens[number - 1].is_name:
            return f"({expression})"
    return expression


def neutral(form: str, guard: str = "", *, in_object: bool = False) -> str:
    """Return what stands for a key that has no source.

    Args:
        form: Its form in the contract.
        guard: What tells whether the object that it belongs to exists, if it may not.
        in_object: Whether it belongs to an object that may not exist.
    """
    value = _NEUTRAL.get(form, "''")
    if guard:
        return (
            f"case when {guard} then {value} end"
            if form in {"flag", "count", "amount"}
            else _NULL.get(form, "null::text")
        )
    return _NULL.get(form, "null::text") if in_object else value


def casts(form: str | None, type_: str, expression: str, zone: str) -> list[str]:
    """Return what could be written so that a column has the form, the best first.

    Args:
        form: Of the contract; ``None``: any that can be written as JSON.
        type_: What the expression is now, as PostgreSQL names it; arrays begin with ``_``.
        expression: What is selected.
        zone: Of times that have none.
    """
    value = operand(expression)
    local = type_ == "timestamp" and form in {None, "instant"}
    if local:
        return [f"{value} at time zone '{zone}'"]
    if form == "instant":
        return [f"{value}::timestamp at time zone '{zone}'"] if type_ == "date" else [f"{value}::timestamptz"]
    if form in {"count", "amount"}:
        number = "integer" if form == "count" else "numeric"
        first = {
            "interval": f"(extract(epoch from {value}) / 60)::{number}",
            "bool": f"{value}::integer",
            "json": f"{value}::text::{number}",
        }.get(type_)
        if type_ in TEXT_TYPES:
            first = f"nullif({expression}, '')::{number}"
        return [first] if first else [f"{value}::{number}"]
    if form == "flag" and type_ in _INTEGERS | {"numeric"}:
        return [f"({value} <> 0)"]
    if type_.startswith("_"):
        return [f"array_to_string({expression}, ', ')", f"{value}::text"]
    return [f"{value}::text"]


def without_null(form: str, type_: str, expression: str) -> str | None:
    """Return what to write in place of a value that may be null; ``None``: it may be null in the contract."""
    if form in {"instant", "key", "keyOrNone"} or type_ in {"json", "jsonb"}:
        return None
    if form in {"count", "amount"}:
        return f"coalesce({expression}, 0)"
    if type_ == "bool":
        return f"coalesce({expression}, false)"
    if type_ in TEXT_TYPES:
        return f"coalesce({expression}, 'F')" if form == "flag" else None
    if type_ == "uuid":
        return f"coalesce(upper(replace({operand(expression)}::text, '-', '')), '')"
    return f"coalesce({operand(expression)}::text, '')"


def guarded(guard: str, expression: str) -> str:
    """Return an expression that is null where an object does not exist."""
    return f"case when {guard} then {expression} end"
