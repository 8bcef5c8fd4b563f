"""The JSON form of each column type of a payload.

The text that PostgreSQL sends is turned straight into its JSON form: an amount is never a binary float, and an instant
is always in UTC, whatever the zone of the daemon or the database is (``cdc_bridge.database`` sets the session's).
Milliseconds are cut, not rounded, so that an instant never moves into the next second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from psycopg.types.string import TextLoader

if TYPE_CHECKING:
    from psycopg.abc import AdaptContext

Json = Any
"""A value that orjson writes as it is to be written: ``str``, ``int``, ``Fragment``, ``None`` or a ``dict`` of them."""


_DATE_LENGTH = len("2021-02-22")


def format_number(text: str) -> orjson.Fragment:
    """Write a number without trailing zeros: ``20.50`` becomes ``20.5``, ``20.00`` becomes ``20``.

    ``NaN`` and the infinities, which JSON does not have, become ``null``.
    """
    if "." in text and "e" not in text:
        return orjson.Fragment(text.rstrip("0").rstrip("."))
    return orjson.Fragment("null" if "N" in text or "I" in text else text)


def format_instant(text: str) -> str | None:
    """Write an instant: ``2021-02-22 22:30:00.123456+00`` becomes ``2021-02-22T22:30:00.123Z``.

    The text is PostgreSQL's ISO style in UTC. What RFC 3339 cannot express becomes ``None``: the infinities, and years
    before 1 or after 9999.
    """
    if text[10:11] != " " or not text.endswith("+00"):
        return None
    return f"{text[:10]}T{text[11:19]}.{text[20:-3][:3].ljust(3, '0')}Z"


def _format_date(text: str) -> str | None:
    return text if len(text) == _DATE_LENGTH else None


def _format_flag(text: str) -> str:
    return "T" if text == "t" else "F"


def _format_uuid(text: str) -> str:
    return UUID(text).hex.upper()


FORMATTERS: dict[str, Callable[[str], Json]] = {
    "numeric": format_number,
    "float4": format_number,
    "float8": format_number,
    "timestamptz": format_instant,
    "date": _format_date,
    "bool": _format_flag,
    "uuid": _format_uuid,
    "json": orjson.Fragment,
    "jsonb": orjson.Fragment,
}
"""Turns the text of a value into its JSON form. A type that is not here is text, or an integer that psycopg loads."""

TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name"})
"""Types that are strings in the JSON; null is ``""``."""

_NUMBER_TYPES = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8"})
_JSON_TYPES = frozenset({"json", "jsonb"})


def form_of(type_: str) -> str:
    """Return what a column type is written as: types of one form can stand for one another."""
    forms = {"text": TEXT_TYPES, "number": _NUMBER_TYPES, "json": _JSON_TYPES}
    return next((form for form, types in forms.items() if type_ in types), type_)


def register_formats(context: AdaptContext) -> None:
    """Make a connection load the columns that have a formatter as text.

    Formatting is left to the builder: psycopg takes three times as long to call a loader written in Python.
    """
    for name in FORMATTERS:
        context.adapters.register_loader(name, TextLoader)
