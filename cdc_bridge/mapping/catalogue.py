"""The tables of a database, as its catalogue describes them. No row of a table is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.did_you_mean import did_you_mean
from cdc_bridge.errors import WrongUsage
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_CODE = re.compile(r"(?:^|[,;.:] *)(-?[0-9]{1,3}|[A-Z]{1,2})(?: *[=:] *| +(?=[^\W\d]))([^,;.=:\n]+)")
_CODED_TEXTS = frozenset({"text", "varchar", "bpchar", "char", "name", "citext"})
_CODED_NUMBERS = frozenset({"int2", "int4", "int8", "numeric"})
_STRING = re.compile(r"'((?:[^']|'')*)'")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    type_: str
    """Name of its type; of a domain, of the type that it is based on."""
    shown_type: str
    """Its type as it is written in SQL."""
    not_null: bool = False
    length: int | None = None
    """The longest text that it takes, if that is limited."""
    comment: str = ""
    values: tuple[str, ...] = ()
    """The texts that it can have, if an enumeration or a check names them."""
    is_enum: bool = False
    stamped: bool = False
    """Whether it gets the current time if nothing else is written to it."""

    @property
    def codes(self) -> dict[str, str]:
        """What its comment says of its values, as in ``1 = confirmed, 9 = cancelled``."""
        found = {code: text.strip() for code, text in _CODE.findall(self.comment) if self._may_be(code)}
        return found if len(found) > 1 else {}

    def _may_be(self, code: str) -> bool:
        if self.is_enum:
            return code in self.values
        return self.type_ in _CODED_TEXTS or (self.type_ in _CODED_NUMBERS and not code.isalpha())


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A reference of one table to another."""

    columns: tuple[str, ...]
    table: int
    referenced: tuple[str, ...]
    declared: bool = True
    """Whether PostgreSQL knows of it, so that the row that it refers to is there."""
    kind: tuple[str, str] | None = None
    """The column and the value that say that it is a row of this table, if the column refers to several tables."""

    @property
    def column(self) -> str:
        """The column that names the row; what is in front of it is the same for many, such as a tenant."""
        return self.columns[-1]

    @property
    def to(self) -> str:
        """The column that it refers to."""
        return self.referenced[-1]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The columns with those that they refer to."""
        return list(zip(self.columns, self.referenced, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table, partitioned or not."""

    oid: int
    schema: str
    name: str
    comment: str = ""
    rows: int = -1
    """As of the last ANALYZE; -1: unknown."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    primary_key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    """Sets of columns that are unique, the primary key first."""
    foreign_keys: tuple[ForeignKey, ...] = ()
    partitioned: bool = False
    shards: tuple[str, ...] = ()
    """The schemas in which there is such a table, if its rows are spread over several."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def is_unique(self, *columns: str) -> bool:
        """Return whether a row is found by these columns, or some of them."""
        return any(set(key) <= set(columns) for key in self.unique)

    @property
    def key(self) -> str | None:
        """The column that identifies a row and is never null, if there is one by itself."""
        alone = [key[0] for key in self.unique if len(key) == 1 and self.columns[key[0]].not_null]
        if alone:
            return alone[0]
        # The primary key of a partitioned table has the partition's column as well, after its own.
        return self.primary_key[0] if self.partitioned and self.primary_key else None


@dataclass(frozen=True, slots=True)
class Other:
    """What has rows and is no table by itself: a view, a materialized view, a foreign table or a partition."""

    schema: str
    name: str
    kind: str
    """What it is, in words."""
    below: tuple[int, ...]
    """What a view reads, or the table that a partition is of."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All tables."""

    tables: Mapping[int, Table]
    """By their OID."""
    others: Mapping[int, Other] = field(default_factory=dict)
    """By their OID. No draft reads them, but somebody may name one."""

    def named(self, name: str) -> list[Table]:
        """Return the tables of a name, with its schema or without."""
        return [table for table in self.tables.values() if name in (str(table), table.name)]

    def others_named(self, name: str) -> list[Other]:
        """Return the others of a name."""
        return [other for other in self.others.values() if name in (str(other), other.name)]

    def tables_below(self, other: Other) -> list[Table]:
        """Return the tables that something reads, through whatever views."""
        found, left = dict[int, Table | None](), list(other.below)
        while left:
            oid = left.pop()
            if oid not in found:
                found[oid] = self.tables.get(oid)
                left += self.others[oid].below if oid in self.others else ()
        return [table for table in found.values() if table is not None]

    def children(self, of: Table) -> list[tuple[Table, ForeignKey]]:
        """Return the tables that refer to a table."""
        return [(table, key) for table in self.tables.values() for key in table.foreign_keys if key.table == of.oid]


async def require_zone(connection: AsyncConnection[TupleRow], name: str) -> None:
    """Make sure that PostgreSQL knows a time zone.

    Raises:
        WrongUsage: It does not.
    """
    cursor = await connection.execute(_queries["time_zones"])
    zones = [zone for (zone,) in await cursor.fetchall()]
    if name not in zones:
        raise WrongUsage(f"PostgreSQL knows no time zone {name}{did_you_mean(name, zones)}")


async def read_catalogue(connection: AsyncConnection[TupleRow]) -> Catalogue:
    """Read the catalogue of a database."""
    cursor = await connection.execute(_queries["catalogue_tables"])
    tables = await cursor.fetchall()
    parameters = {"tables": [oid for oid, *_ in tables]}

    async def rows_by_table(statement: str) -> dict[int, list[Sequence[Any]]]:
        found: dict[int, list[Sequence[Any]]] = {}
        cursor = await connection.execute(_queries[statement], parameters)
        for oid, *row in await cursor.fetchall():
            found.setdefault(oid, []).append(row)
        return found

    checks = {
        (oid, str(column)): values
        for oid, rows in (await rows_by_table("catalogue_checks")).items()
        for column, condition in rows
        if (values := _values(str(condition)))
    }
    columns = await rows_by_table("catalogue_columns")
    keys = await rows_by_table("catalogue_keys")
    foreign = await rows_by_table("catalogue_foreign_keys")
    cursor = await connection.execute(_queries["catalogue_others"])
    others = await cursor.fetchall()
    return Catalogue(
        {
            oid: Table(
                oid,
                schema,
                name,
                comment or "",
                rows,
                {
                    column[0]: Column(
                        column[0], column[1], column[3], column[5], column[4], column[6] or "",
                        tuple(column[7]) or checks.get((oid, column[0]), ()), column[2], column[8],
                    )
                    for column in columns.get(oid, ())
                },
                next((tuple(names) for primary, names in keys.get(oid, ()) if primary), ()),
                tuple(tuple(names) for _, names in keys.get(oid, ())),
                tuple(ForeignKey(tuple(own), table, tuple(other)) for own, table, other in foreign.get(oid, ())),
                partitioned,
            )
            for oid, schema, name, comment, rows, partitioned in tables
        },
        {oid: Other(schema, name, kind, tuple(below)) for oid, schema, name, kind, below in others},
    )  # fmt: skip


def _values(condition: str) -> tuple[str, ...]:
    """Return the texts that a condition such as ``vip in ('Y', 'N')`` lists; none, if it says something else."""
    if not re.search(r"=\s*ANY|\bIN\b|=\s*'", condition, re.IGNORECASE) or re.search(r"[<>~]", condition):
        return ()
    return tuple(text.replace("''", "'") for text in _STRING.findall(condition))
