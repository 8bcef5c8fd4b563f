"""Named SQL statements: each room keeps its own in a ``queries.sql`` beside the modules that send them.

They are ``LiteralString`` to the type checker, as psycopg asks, because they come with the package and nothing is ever
pasted into them.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_FILE = "queries.sql"


def parse(text: str) -> dict[str, LiteralString]:
    """Split a file of statements at its ``-- name:`` lines.

    Raises:
        ValueError: Two statements have the same name.
    """
    _, *parts = _NAME.split(text)
    names, statements = parts[0::2], parts[1::2]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"statements named twice: {', '.join(sorted(twice))}")
    return {name: cast("LiteralString", statement.strip()) for name, statement in zip(names, statements, strict=True)}


def load_queries(module: str) -> dict[str, LiteralString]:
    """Return the statements of a module's room, by name.

    Args:
        module: The module's ``__name__``.
    """
    return _load(module.rpartition(".")[0])


def all_queries() -> dict[str, LiteralString]:
    """Return the statements of all rooms, by name.

    Raises:
        ValueError: Two rooms have a statement of the same name.
    """
    root = files(__package__)
    rooms = [__package__, *(f"{__package__}.{room.name}" for room in root.iterdir() if room.joinpath(_FILE).is_file())]
    found: dict[str, LiteralString] = {}
    for room in rooms:
        statements = _load(room)
        if twice := found.keys() & statements.keys():
            raise ValueError(f"statements named twice: {', '.join(sorted(twice))}")
        found |= statements
    return found


@cache
def _load(package: str) -> dict[str, LiteralString]:
    return parse(files(package).joinpath(_FILE).read_text(encoding="utf-8"))
