"""What an installation creates, replaces or drops, read from the catalogs before and after it."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_ORDER = ("role", "schema", "table", "index", "sequence", "view", "function", "procedure", "trigger", "right")

Objects = Mapping[str, str]
"""A fingerprint of each object's definition, by the object's kind and name."""


async def installed_objects(connection: AsyncConnection[TupleRow]) -> Objects:
    """Return what installations created in this database: objects, roles and rights on e-Res's tables."""
    cursor = await connection.execute(_queries["installed_objects"])
    objects = sorted(await cursor.fetchall(), key=lambda row: (_ORDER.index(row[0].split()[0]), row[0]))
    return dict(objects)


async def locks_on_other_tables(connection: AsyncConnection[TupleRow]) -> list[str]:
    """Return the locks that this transaction holds on tables outside our schema and that can block others."""
    cursor = await connection.execute(_queries["locks_on_other_tables"])
    return [f"{table}, {mode}" for table, mode in await cursor.fetchall()]


def difference(before: Objects, after: Objects) -> list[str]:
    """Return the changes between two states, one line each."""
    return [
        *(f"create {name}" for name in after if name not in before),
        *(f"replace {name}" for name in after if name in before and before[name] != after[name]),
        *(f"drop {name}" for name in before if name not in after),
    ]
