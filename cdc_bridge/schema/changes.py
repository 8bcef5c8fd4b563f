"""What an installation changes in the database, seen from the catalogue before and after it."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_ORDER = ("role", "schema", "table", "index", "sequence", "view", "function", "procedure", "trigger", "right")

Objects = Mapping[str, str]
"""Each object by its name in words, with a fingerprint of its definition."""


async def our_objects(connection: AsyncConnection[TupleRow]) -> Objects:
    """Return what is in the database by an installation: objects, roles and rights on e-Res's tables."""
    cursor = await connection.execute(_queries["our_objects"])
    found = sorted(await cursor.fetchall(), key=lambda record: (_ORDER.index(record[0].split()[0]), record[0]))
    return dict(found)


async def foreign_locks(connection: AsyncConnection[TupleRow]) -> list[str]:
    """Return the locks that this transaction holds on tables that are not the bridge's and that others may wait for."""
    cursor = await connection.execute(_queries["foreign_locks"])
    return [f"{table}, {mode}" for table, mode in await cursor.fetchall()]


def changes_between(before: Objects, after: Objects) -> list[str]:
    """Return in words how two accounts differ."""
    return [
        *(f"create {name}" for name in after if name not in before),
        *(f"replace {name}" for name in after if name in before and before[name] != after[name]),
        *(f"drop {name}" for name in before if name not in after),
    ]
