"""Reads the keys of all reservations, a page at a time, which is bounded in keys and in bytes.

The payload view is read in the order of its "id" and in that column's own type, so that the index of the key serves
each page, whatever the type.
"""

from __future__ import annotations

from datetime import datetime

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from cdc_bridge.capture.change_log import PAGE_BYTES
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import key_type, payload_columns
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


class ReservationKeys:
    """A cursor over the keys of all reservations, or of those updated since a time."""

    def __init__(self, since: datetime | None) -> None:
        """Start before the first key.

        Args:
            since: Lower bound of the column "updated"; ``None``: all reservations.
        """
        self._since = since
        self._statement: sql.Composed | None = None
        self._last: ReservationId | None = None
        self.at_end = False

    def raise_since(self, since: datetime) -> None:
        """Raise the lower bound, if it is lower, for the pages to come."""
        self._since = since if self._since is None else max(self._since, since)

    async def next_page(self, connection: AsyncConnection[TupleRow], limit: int) -> list[ReservationId]:
        """Return the next keys; at the end, none.

        Raises:
            InstallationError: The payload view is missing.
            BridgeError: "updated" is not a timestamp with time zone.
        """
        statement = self._statement or await self._compose(connection)
        cursor = await connection.execute(
            # Not prepared: a generic plan, for the first page and later ones, would scan the table.
            statement,
            {"after": self._last, "since": self._since, "limit": limit, "max_bytes": PAGE_BYTES},
            prepare=False,
        )
        records = await cursor.fetchall()
        page = [ReservationId(key) for key, _ in records]
        self.at_end = len(page) < limit and (not records or records[-1][1] < PAGE_BYTES)
        if page:
            self._last = page[-1]
        return page

    async def count(self, connection: AsyncConnection[TupleRow]) -> int:
        """Return the number of keys in all.

        Raises:
            BridgeError: "updated" is not a timestamp with time zone.
        """
        await self._require_timestamp(connection)
        cursor = await connection.execute(_queries["count_reservations"], {"since": self._since}, prepare=False)
        ((number,),) = await cursor.fetchall()
        return int(number)

    async def _compose(self, connection: AsyncConnection[TupleRow]) -> sql.Composed:
        await self._require_timestamp(connection)
        self._statement = sql.SQL(_queries["reservation_keys"]).format(key_type=await key_type(connection))
        return self._statement

    async def _require_timestamp(self, connection: AsyncConnection[TupleRow]) -> None:
        if self._since is None:
            return
        types = await payload_columns(connection)
        if types.get("updated") != "timestamptz":
            raise BridgeError(
                f'the column "updated" of cdc_bridge.reservation_payload is of type {types.get("updated", "(none)")}, '
                "so it cannot be compared with a time",
                "Cast it in the mapping, the JSON stays the same: r.updated::timestamptz as updated",
            )
