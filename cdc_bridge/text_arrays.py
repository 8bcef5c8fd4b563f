"""Passes lists of text to PostgreSQL as arrays, quickly.

psycopg examines each value with a regular expression to find out whether it has to be quoted, which takes milliseconds
for a key of 100 kB. It may be quoted in any case.
"""

from __future__ import annotations

from typing import Any

from psycopg.abc import Buffer
from psycopg.types.array import ListDumper

_NUL = "\0"


class TextListDumper(ListDumper):
    """Quotes every value of a list of text; leaves other lists to psycopg."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        """Return the array as PostgreSQL reads it (its manual, section 8.15.6).

        Raises:
            psycopg.DataError: PostgreSQL does not take a value.
        """
        if not obj or any(value is not None and type(value) is not str for value in obj):
            return super().dump(obj)
        text = "{" + ",".join(map(_quoted, obj)) + "}"
        return super().dump(obj) if _NUL in text else text.encode()  # It raises.


def _quoted(value: str | None) -> str:
    return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
