"""Writes names and texts into SQL that a person reads."""

from __future__ import annotations

import re

_SIMPLE = re.compile(r"[a-z_][a-z0-9_]*")
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        all analyse analyze and any array as asc asymmetric authorization binary both case cast check
        collate collation column concurrently constraint create cross current_catalog current_date
        current_role current_schema current_time current_timestamp current_user default deferrable desc
        distinct do else end except false fetch for foreign freeze from full grant group having ilike in
        initially inner intersect into is isnull join lateral leading left like limit localtime
        localtimestamp natural not notnull null offset on only or order outer overlaps placing primary
        references returning right select session_user similar some symmetric system_user table
        tablesample then to trailing true union unique user using variadic verbose when where window
        with
        """,
    )
)
"""Words that name no table, nor its alias, without quotes: those of ``pg_get_keywords()`` that are reserved."""


def quoted(name: str) -> str:
    """Return an identifier as it is written in SQL."""
    if _SIMPLE.fullmatch(name) and name not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as it is written in SQL."""
    return "'" + text.replace("'", "''") + "'"
