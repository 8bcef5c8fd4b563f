"""Builds the JSON body from a row of the payload view.

The view's columns are the JSON's keys, in their order; a dot in a name nests: ``customer.id`` is ``id`` inside
``customer``, which stands where its first column stands. An object whose columns are all absent is ``null``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from cdc_bridge.payload.formats import Json

_OPTIONS = orjson.OPT_PASSTHROUGH_SUBCLASS


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the view: its name, and whether it holds text (absent text is ``""``)."""

    name: str
    is_text: bool


@dataclass(frozen=True, slots=True)
class _Value:
    index: int
    absent: Json


@dataclass(frozen=True, slots=True)
class _Object:
    members: tuple[tuple[str, _Value | _Object], ...]

    def build(self, row: Sequence[Json]) -> Json:
        built: dict[str, Json] = {}
        empty = True
        for key, member in self.members:
            if isinstance(member, _Object):
                value = member.build(row)
                empty = empty and value is None
            else:
                value = row[member.index]
                if value is None:
                    value = member.absent
                else:
                    empty = False
            built[key] = value
        return None if empty else built


class BodyBuilder:
    """Builds bodies from rows of one shape."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._root = _nest([(column.name.split("."), index, column.is_text) for index, column in enumerate(columns)])

    def build(self, row: Sequence[Json]) -> bytes:
        """Return the body, the very bytes that are signed and posted."""
        return orjson.dumps(self._root.build(row), option=_OPTIONS)


def _nest(columns: Sequence[tuple[list[str], int, bool]]) -> _Object:
    groups: dict[str, list[tuple[list[str], int, bool]]] = {}
    for path, index, is_text in columns:
        groups.setdefault(path[0], []).append((path[1:], index, is_text))
    return _Object(tuple((key, _member(group)) for key, group in groups.items()))


def _member(group: Sequence[tuple[list[str], int, bool]]) -> _Value | _Object:
    path, index, is_text = group[0]
    if path:
        return _nest(group)
    return _Value(index, "" if is_text else None)
