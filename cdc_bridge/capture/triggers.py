"""The triggers that capture changes, as the catalogue has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that captures."""

    table: str
    whole_table: str
    """The table, or the one that it is a partition of."""
    name: Literal["cdc_bridge_insert", "cdc_bridge_update"]
    fires: bool
    """Whether it was not disabled."""
    captures: bool
    """Whether capture was not disabled."""
    key: str
    """The column that its function reads."""
    has_key: bool
    """Whether the table has that column."""


async def capture_triggers(connection: AsyncConnection[TupleRow]) -> list[Trigger]:
    """Return the triggers that capture changes, by table and name."""
    async with connection.cursor(row_factory=class_row(Trigger)) as cursor:
        await cursor.execute(_queries["capture_triggers"])
        return await cursor.fetchall()
