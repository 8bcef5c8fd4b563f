"""The statements of ``queries.sql``, by name.

They are ``LiteralString`` to the type checker, as psycopg asks, because they come with the package
and nothing is ever pasted into them.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_HEADING = re.compile(r"^-- -{8,} .*$", re.MULTILINE)


def parse(text: str) -> dict[str, LiteralString]:
    """Split a file of statements at its ``-- name:`` lines.

    Raises:
        ValueError: a name stands twice.
    """
    _, *parts = _NAME.split(_HEADING.sub("", text))
    names, statements = parts[0::2], parts[1::2]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"statements named twice: {', '.join(sorted(twice))}")
    return {name: cast("LiteralString", statement.strip()) for name, statement in zip(names, statements, strict=True)}


queries = parse(files("cdc_bridge").joinpath("queries.sql").read_text(encoding="utf-8"))
"""Every named statement."""
