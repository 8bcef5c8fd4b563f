"""What PostgreSQL's catalogue says about e-Res's tables: no row of them is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.did_you_mean import nearest
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Columns of a table that refer to another one."""

    columns: tuple[str, ...]
    table: int
    other_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table or a view."""

    oid: int
    name: str
    """With its schema, as it is written in SQL."""
    is_table: bool
    """Whether the catalogue knows which of its columns are never null, and which are unique."""
    columns: Mapping[str, bool]
    """Each with whether it is never null."""
    types: Mapping[str, str]
    """Those of the columns, as they are written in SQL."""
    unique: tuple[tuple[str, ...], ...]
    """Columns of each unique index of all rows; those of the primary key first."""
    uncertain: tuple[tuple[str, ...], ...]
    """The same of indexes of some rows, or of expressions."""
    foreign_keys: tuple[ForeignKey, ...]


class Catalog:
    """Looks tables up, each once."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection
        self._tables: dict[str, Table | None] = {}

    async def table(self, name: str) -> Table | None:
        """Return a table by its name as it is written in SQL; ``None``: there is none."""
        if name not in self._tables:
            self._tables[name] = await self._look_up(name)
        return self._tables[name]

    async def table_meant(self, path: list[str]) -> str | None:
        """Return the name of the table that was likely meant by one that does not exist."""
        cursor = await self._connection.execute(_queries["tables_of_e_res"])
        tables = await cursor.fetchall()
        for schema, name, written in tables:
            if name == path[-1] and (len(path) == 1 or nearest(path[-2], [schema])):
                return str(written)
        for _, name, written in tables:
            if name == path[-1]:
                return str(written)
        here = {name: written for schema, name, written in tables if path[:-1] in ([], [schema])}
        anywhere = {name: written for _, name, written in reversed(tables)}
        for known in (here, anywhere):
            if near := nearest(path[-1], known):
                return str(known[near])
        return None

    async def schema_meant(self, name: str) -> str | None:
        """Return the schema that was likely meant by one that does not exist."""
        cursor = await self._connection.execute(_queries["schemas_of_e_res"])
        return nearest(name, [schema for (schema,) in await cursor.fetchall()])

    async def _look_up(self, name: str) -> Table | None:
        cursor = await self._connection.execute(_queries["table_of_e_res"], {"name": name})
        found = await cursor.fetchone()
        if found is None:
            return None
        oid, kind, written, columns, types, never_null = found
        cursor = await self._connection.execute(_queries["unique_indexes"], {"table": oid})
        indexes = await cursor.fetchall()
        cursor = await self._connection.execute(_queries["foreign_keys"], {"table": oid})
        return Table(
            oid,
            written,
            kind in {"r", "p"},
            dict(zip(columns, never_null, strict=True)),
            dict(zip(columns, types, strict=True)),
            tuple(tuple(names) for names, plain in indexes if plain),
            tuple(tuple(names) for names, plain in indexes if not plain),
            tuple(ForeignKey(tuple(own), other, tuple(its)) for own, other, its in await cursor.fetchall()),
        )
