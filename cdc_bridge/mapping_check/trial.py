"""Tries statements and queries in a DBA's transaction, each in a savepoint.

What the owner of e-Res's tables put behind their names must not run in a DBA's session. So a query is made a temporary
view, which is rolled back at once: that parses it, and neither plans nor runs it. Only an expression that calls nothing
but PostgreSQL's own functions is evaluated: over nulls, to learn whether it can be null, and over values of ours, to
learn what text it makes of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from cdc_bridge.errors import shortened
from cdc_bridge.mapping_check.source import Source
from cdc_bridge.queries import load_queries
from cdc_bridge.sql_names import quoted

_queries = load_queries(__name__)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a query."""

    name: str
    type_: str
    """As its name in ``pg_catalog``."""
    shown_type: str
    can_be_sent: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """What PostgreSQL says against a text."""

    sqlstate: str
    problem: str
    hint: str
    position: int | None
    """In that text."""

    @classmethod
    def of(cls, error: psycopg.Error, skipped: int = 0) -> Rejection:
        """Return an error, of a text that had some characters in front."""
        given = error.diag.statement_position
        return cls(
            error.sqlstate or "",
            # Nothing is read, so that no value of a row can be in it.
            shortened(error.diag.message_primary or type(error).__name__),
            error.diag.message_hint or "",
            int(given) - 1 - skipped if given else None,
        )


@dataclass(frozen=True, slots=True)
class Probe:
    """A query that PostgreSQL accepts."""

    columns: tuple[Column, ...]
    grants: tuple[tuple[str, str], ...]
    """Statements that are missing, and the table that each is about."""
    runs_code: bool
    """Whether it calls something that is not PostgreSQL's own."""


class Trial:
    """A DBA's session in a transaction that is rolled back."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self.connection = connection

    async def run(self, statement: str) -> Rejection | None:
        """Run a statement; if it fails, it has changed nothing."""
        try:
            async with self.connection.transaction():
                await self.connection.execute(statement.encode())
        except psycopg.Error as error:
            return self._rejection(error)
        return None

    async def expanded(self, query: Source, payloads: list[tuple[int, int, str]]) -> Source:
        """Return a query with the text of each payload in place of its name in braces."""
        result, position = Source("", ()), 0
        for start, end, name in payloads:
            cursor = await self.connection.execute(_queries["expanded_payload"], {"name": name})
            found = await cursor.fetchone()
            text = f"(\n{found[0]}\n)" if found else "{}"
            result = result + query.part(position, start) + query.added(text, start)
            position = end
        return result + query.part(position)

    async def payloads(self) -> list[str]:
        """Return the names of the payloads that are defined."""
        cursor = await self.connection.execute(_queries["payloads_to_build_on"])
        return [name for (name,) in await cursor.fetchall()]

    async def probe(self, query: str) -> Probe | Rejection:
        """Have PostgreSQL parse a query."""
        prefix = _queries["define_probe"] + "\n"
        try:
            async with self._undone():
                await self.connection.execute((prefix + query).encode())
                cursor = await self.connection.execute(_queries["columns_of_probe"])
                columns = tuple(Column(*row) for row in await cursor.fetchall())
                cursor = await self.connection.execute(_queries["rights_missing_for_probe"])
                grants = tuple((statement, table) for statement, table in await cursor.fetchall())
                cursor = await self.connection.execute(_queries["probe_runs_code"])
                ((runs_code,),) = await cursor.fetchall()
        except psycopg.Error as error:
            return self._rejection(error, len(prefix))
        return Probe(columns, grants, bool(runs_code))

    async def is_null(self, expression: str, tables: dict[str, str]) -> bool | None:
        """Return whether an expression is null where some tables have no row; ``None``: nobody can tell.

        Args:
            expression: It has been probed, and calls only functions of PostgreSQL.
            tables: Names by alias; all that the expression names are among them.
        """
        query = _queries["is_null"].replace("-- The expression stands here.", expression)
        for alias, name in tables.items():
            query += "\n" + _queries["missing_row"].replace("public.table_of_e_res", name).replace(
                "its_alias", quoted(alias)
            )
        found = await self._evaluated(query)
        return None if found is None else bool(found)

    async def text_of(self, expression: str, values: Mapping[str, Mapping[str, str]]) -> str | None:
        """Return the text of an expression over values of ours; ``None``: it is null, or nobody can tell.

        Args:
            expression: It has been probed, and calls only functions of PostgreSQL.
            values: By alias and column, as SQL; all columns that the expression names are among them.
        """
        query = _queries["text_of"].replace("-- The expression stands here.", expression)
        for alias, columns in values.items():
            row = ", ".join(f"{value} as {quoted(column)}" for column, value in columns.items())
            query += "\n" + _queries["row_of_values"].replace("null as its_column", row).replace(
                "its_alias", quoted(alias)
            )
        found = await self._evaluated(query)
        return None if found is None else str(found)

    async def _evaluated(self, query: str) -> object:
        """Return the one value of a query; ``None``: it is null, or there is not one."""
        try:
            async with self._undone():
                cursor = await self.connection.execute(query.encode())
                rows = await cursor.fetchall()
        except psycopg.Error as error:
            self._rejection(error)
            return None
        return rows[0][0] if len(rows) == 1 else None

    @asynccontextmanager
    async def _undone(self) -> AsyncIterator[None]:
        async with self.connection.transaction(force_rollback=True):
            yield

    def _rejection(self, error: psycopg.Error, skipped: int = 0) -> Rejection:
        """Return what is wrong with the text.

        Raises:
            psycopg.Error: It is not the text that is wrong.
        """
        if self.connection.closed or isinstance(error, errors.LockNotAvailable | errors.QueryCanceled):
            raise error
        return Rejection.of(error, skipped)
