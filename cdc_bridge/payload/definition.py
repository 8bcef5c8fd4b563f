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
