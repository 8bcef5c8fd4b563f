"""Builds the JSON body from a row of a payload.

The payload's columns are the JSON's keys, in their order; a dot in a name nests: ``customer.id`` is ``id`` inside
``customer``, which stands where its first column stands. An object whose columns are all absent is ``null``.
A column whose name begins with ``@`` is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from cdc_bridge.payload.formats import FORMATTERS, TEXT_TYPES, Json

_OPTIONS = orjson.OPT_PASSTHROUGH_SUBCLASS


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a payload: its name and type, as ``text`` (null text is ``""``)."""

    name: str
    type_: str


class _Object:
    """An object of the JSON. Building one is done for every request: no more than a loop over its values."""

    def __init__(self) -> None:
        self.absent: dict[str, Json] = {}
        """All its keys in their order, and their values where the row has none."""
        self.values: list[tuple[str, int]] = []
        self.formatted: list[tuple[str, int, Callable[[str], Json]]] = []
        self.objects: list[tuple[str, _Object]] = []

    def build(self, row: Sequence[Json]) -> Json:
        built = self.absent.copy()
        empty = True
        for key, index in self.values:
            value = row[index]
            if value is not None:
                built[key] = value
                empty = False
        for key, index, formatter in self.formatted:
            value = row[index]
            if value is not None:
                built[key] = formatter(value)
                empty = False
        for key, member in self.objects:
            value = built[key] = member.build(row)
            empty = empty and value is None
        return None if empty else built


class BodyBuilder:
    """Builds bodies from rows of one shape."""

    def __init__(self, columns: Sequence[Column], first: int = 0) -> None:
        """Prepare to build.

        Args:
            columns: The payload's columns.
            first: Where they begin in a row.
        """
        sent = [(index, column) for index, column in enumerate(columns, first) if not column.name.startswith("@")]
        self._root = _nest([(column.name.split("."), index, column.type_) for index, column in sent])

    def build(self, row: Sequence[Json]) -> bytes:
        """Return the body: the very bytes that are signed and sent."""
        return orjson.dumps(self._root.build(row), option=_OPTIONS)


def _nest(columns: Sequence[tuple[list[str], int, str]]) -> _Object:
    groups: dict[str, list[tuple[list[str], int, str]]] = {}
    for path, index, type_ in columns:
        groups.setdefault(path[0], []).append((path[1:], index, type_))
    nested = _Object()
    for key, group in groups.items():
        path, index, type_ = group[0]
        nested.absent[key] = "" if type_ in TEXT_TYPES and not path else None
        if path:
            nested.objects.append((key, _nest(group)))
        elif formatter := FORMATTERS.get(type_):
            nested.formatted.append((key, index, formatter))
        else:
            nested.values.append((key, index))
    return nested
