"""The JSON form of each column type of a payload.

The text that PostgreSQL sends is turned straight into its JSON form: an amount is never a binary float, and an instant
is always in UTC, whatever the zone of the daemon or the database is (``cdc_bridge.database`` sets the session's).
Milliseconds are cut, not rounded, so that an instant never moves into the next second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from psycopg.adapt import Buffer, Loader

if TYPE_CHECKING:
    from psycopg.abc import AdaptContext

_NULL = orjson.Fragment(b"null")


def format_number(text: bytes) -> bytes:
    """Write a number without trailing zeros: ``20.50`` becomes ``20.5``, ``20.00`` becomes ``20``.

    ``NaN`` and the infinities, which JSON does not have, become ``null``.
    """
    if b"N" in text or b"I" in text:
        return b"null"
    if b"." not in text or b"e" in text:
        return text
    return text.rstrip(b"0").rstrip(b".")


def format_instant(text: bytes) -> bytes:
    """Write an instant: ``2021-02-22 22:30:00.123456+00`` becomes ``"2021-02-22T22:30:00.123Z"``.

    The text is PostgreSQL's ISO style in UTC. Years before Christ are written as ISO 8601 does (44 BC is
    ``-0043``); the infinities, which JSON does not have, become ``null``.
    """
    if text[10:11] == b" " and text.endswith(b"+00"):  # most by far: this is done for every request
        return b'"%bT%b.%bZ"' % (text[:10], text[11:19], text[20:-3][:3].ljust(3, b"0"))
    if b"infinity" in text:
        return b"null"
    date, _, rest = text.partition(b" ")
    time, _, era = rest.partition(b"+00")
    if era:
        year, _, day = date.partition(b"-")
        date = b"-%04d-%s" % (int(year) - 1, day)
    seconds, _, fraction = time.partition(b".")
    return b'"%sT%s.%sZ"' % (date, seconds, fraction[:3].ljust(3, b"0"))


class _NumberLoader(Loader):
    def load(self, data: Buffer) -> orjson.Fragment:
        return orjson.Fragment(format_number(bytes(data)))


class _InstantLoader(Loader):
    def load(self, data: Buffer) -> orjson.Fragment:
        return orjson.Fragment(format_instant(bytes(data)))


class _DateLoader(Loader):
    def load(self, data: Buffer) -> str | orjson.Fragment:
        text = bytes(data).decode()
        return _NULL if text.endswith("infinity") else text


class _FlagLoader(Loader):
    def load(self, data: Buffer) -> str:
        return "T" if bytes(data) == b"t" else "F"


class _UuidLoader(Loader):
    def load(self, data: Buffer) -> str:
        return UUID(bytes(data).decode()).hex.upper()


class _JsonLoader(Loader):
    def load(self, data: Buffer) -> orjson.Fragment:
        return orjson.Fragment(bytes(data))


_LOADERS: dict[str, type[Loader]] = {
    "numeric": _NumberLoader,
    "float4": _NumberLoader,
    "float8": _NumberLoader,
    "timestamptz": _InstantLoader,
    "date": _DateLoader,
    "bool": _FlagLoader,
    "uuid": _UuidLoader,
    "json": _JsonLoader,
    "jsonb": _JsonLoader,
}

TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name"})
"""Types that are strings in the JSON; null is ``""``."""

_NUMBER_TYPES = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8"})
_JSON_TYPES = frozenset({"json", "jsonb"})


def form_of(type_: str) -> str:
    """Return what a column type is written as: types of one form can stand for one another."""
    forms = {"text": TEXT_TYPES, "number": _NUMBER_TYPES, "json": _JSON_TYPES}
    return next((form for form, types in forms.items() if type_ in types), type_)


def register_formats(context: AdaptContext) -> None:
    """Make a connection or cursor load every column in its JSON form."""
    for name, loader in _LOADERS.items():
        context.adapters.register_loader(name, loader)


Json = Any
"""A value that orjson writes as it is to be written: ``str``, ``int``, ``Fragment``, ``None`` or a ``dict`` of them."""
