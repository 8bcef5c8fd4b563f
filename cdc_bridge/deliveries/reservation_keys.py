"""Walks through all reservations by their keys, a page at a time.

The payload view is read in the order of its "id" and in that column's own type, so that the key's index serves each
page, whatever the type.
"""

from __future__ import annotations

from datetime import datetime

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from cdc_bridge.errors import BridgeError
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import key_type, payload_columns
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


class ReservationKeys:
    """The keys of all reservations, or of those updated since a time."""

    def __init__(self, since: datetime | None) -> None:
        """Begin before the first one.

        Args:
            since: only those whose "updated" is then or later; ``None``: all.
        """
        self._since = since
        self._statement: sql.Composed | None = None
        self._last: ReservationId | None = None
        self.at_end = False

    def begin_no_earlier(self, at: datetime) -> None:
        """Leave out, from the next page on, also what was updated before a time."""
        self._since = at if self._since is None else max(self._since, at)

    async def next_page(self, connection: AsyncConnection[TupleRow], limit: int) -> list[ReservationId]:
        """Return the next keys, none at the end.

        Raises:
            InstallationError: the view is not there.
            BridgeError: "updated" is of a type that says nothing certain.
            psycopg.Error: the database could not be read.
        """
        statement = self._statement or await self._compose(connection)
        cursor = await connection.execute(
            # Not prepared: one plan for the first page and for those after it would scan the table.
            statement,
            {"after": self._last, "since": self._since, "limit": limit},
            prepare=False,
        )
        page = [ReservationId(key) for (key,) in await cursor.fetchall()]
        self.at_end = len(page) < limit
        if page:
            self._last = page[-1]
        return page

    async def count(self, connection: AsyncConnection[TupleRow]) -> int:
        """Return how many there are in all.

        Raises:
            BridgeError: "updated" is of a type that says nothing certain.
            psycopg.Error: the database could not be read.
        """
        await self._require_time(connection)
        cursor = await connection.execute(_queries["count_reservations"], {"since": self._since}, prepare=False)
        ((number,),) = await cursor.fetchall()
        return int(number)

    async def _compose(self, connection: AsyncConnection[TupleRow]) -> sql.Composed:
        await self._require_time(connection)
        self._statement = sql.SQL(_queries["reservation_keys"]).format(key_type=await key_type(connection))
        return self._statement

    async def _require_time(self, connection: AsyncConnection[TupleRow]) -> None:
        if self._since is None:
            return
        types = await payload_columns(connection)
        if types.get("updated") != "timestamptz":
            raise BridgeError(
                f'the column "updated" of cdc_bridge.reservation_payload is of type {types.get("updated", "(none)")}, '
                "so it cannot be compared with a time",
                "Cast it in the mapping, the JSON stays the same: r.updated::timestamptz as updated",
            )
