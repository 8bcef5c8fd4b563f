"""A payload's definition: what ``cdc_bridge.define_payload`` stored of its SELECT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

RESERVATION = "reservation"
"""Name of the payload that the contract describes."""

INSTALL_MAPPING = "cdc-bridge install --mapping FILE"


@dataclass(frozen=True, slots=True)
class PayloadDefinition:
    """Name and shape of a payload."""

    name: str
    base: str | None
    """:data:`RESERVATION`, if it builds on that."""
    columns: Sequence[str]
    """The JSON's keys, in order; a dot nests, and ``@`` in front means that it is not sent."""
    types: Sequence[str]
    """The columns' types when it was defined, as their names in ``pg_catalog``."""
    reads: Sequence[str]
    """Tables and views that it names."""
    functions: Sequence[str]
    """Functions that it calls, other than PostgreSQL's own."""
    revision: str
    """Changes with every new definition."""

    @property
    def type_of(self) -> dict[str, str]:
        """The columns with their types."""
        return dict(zip(self.columns, self.types, strict=True))

    def type_of_time(self, column: str) -> str | None:
        """Return the type of a column that may be metadata; ``None``: there is none."""
        return self.type_of.get(column) or self.type_of.get(f"@{column}")


async def payload_definition(connection: AsyncConnection[TupleRow], name: str) -> PayloadDefinition:
    """Return a payload's definition.

    Raises:
        PayloadInvalid: There is none of that name.
    """
    async with connection.cursor(row_factory=class_row(PayloadDefinition)) as cursor:
        await cursor.execute(_queries["payload_definition"], {"name": name})
        found = await cursor.fetchone()
    if found is None:
        raise PayloadInvalid(f'the payload "{name}" is not defined', f"Run as a DBA: {INSTALL_MAPPING}")
    return found


async def defined_payloads(connection: AsyncConnection[TupleRow]) -> list[str]:
    """Return the names of all payloads."""
    cursor = await connection.execute(_queries["defined_payloads"])
    return [name for (name,) in await cursor.fetchall()]
