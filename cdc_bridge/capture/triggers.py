"""The capture triggers in the system catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A capture trigger."""

    table: str
    whole_table: str
    """The table, or the root of its partitions."""
    name: Literal["cdc_bridge_insert", "cdc_bridge_update"]
    fires: bool
    """Whether the trigger is enabled."""
    captures: bool
    """Whether capture is enabled."""
    key: str
    """The column that its function reads the key from."""
    has_key: bool
    """Whether the table has that column."""
    attach: str
    """The statement that attaches capture to the whole table anew, by the key as it is named now."""


async def capture_triggers(connection: AsyncConnection[TupleRow]) -> list[Trigger]:
    """Return all capture triggers, by table and name."""
    async with connection.cursor(row_factory=class_row(Trigger)) as cursor:
        await cursor.execute(_queries["capture_triggers"], {})
        return await cursor.fetchall()
