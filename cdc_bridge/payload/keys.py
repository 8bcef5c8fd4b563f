"""Reads the keys of all reservations, a page at a time, which is bounded in keys and in bytes.

They come in the order of the payload's "id" and in that column's own type, so that the index of the key serves each
page, whatever the type.
"""

from __future__ import annotations

from datetime import datetime

from cdc_bridge.errors import BridgeError
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.definition import RESERVATION, payload_definition
from cdc_bridge.payload.isolated import run_isolated
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection

_queries = load_queries(__name__)

_PAGE_BYTES = 1_000_000


class ReservationKeys:
    """A cursor over the keys of all reservations, or of those updated since a time."""

    def __init__(self, since: datetime | None, payload: str = RESERVATION) -> None:
        """Start before the first key.

        Args:
            since: Lower bound of the column "updated", or of "created" where that is null; a reservation that has
                neither is always among them. ``None``: all reservations.
            payload: The payload whose reservations they are.
        """
        self._since = since
        self._payload = payload
        self._checked = False
        self._last: ReservationId | None = None
        self.at_end = False

    def raise_since(self, since: datetime) -> None:
        """Raise the lower bound, if it is lower, for the pages to come."""
        self._since = since if self._since is None else max(self._since, since)

    async def next_page(
        self, connection: LoadingConnection, limit: int, snapshot: str | None = None
    ) -> list[ReservationId]:
        """Return the next keys; at the end, none.

        Args:
            connection: To the database.
            limit: Maximum number of keys.
            snapshot: A snapshot that another transaction exported, to read in; ``None``: a new one.

        Raises:
            PayloadInvalid: The payload is not defined.
            BridgeError: "updated" is not a timestamp with time zone.
        """
        await self._check(connection)
        parameters = {
            "payload": self._payload,
            "after": self._last,
            "since": self._since,
            "limit": limit,
            "max_bytes": _PAGE_BYTES,
        }
        cursor = await run_isolated(connection, _queries["payload_keys"].encode(), parameters, snapshot)
        page = [ReservationId(key) for (key,) in await cursor.fetchall()]
        size = sum(len(key.encode()) for key in page)
        self.at_end = len(page) < limit and size < _PAGE_BYTES
        if page:
            self._last = page[-1]
        return page

    async def count(self, connection: LoadingConnection) -> int:
        """Return the number of keys in all.

        Raises:
            PayloadInvalid: The payload is not defined.
            BridgeError: "updated" is not a timestamp with time zone.
        """
        await self._check(connection)
        parameters = {"payload": self._payload, "since": self._since}
        cursor = await run_isolated(connection, _queries["count_keys"].encode(), parameters)
        ((number,),) = await cursor.fetchall()
        return int(number)

    async def _check(self, connection: LoadingConnection) -> None:
        if self._checked:
            return
        types = (await payload_definition(connection, self._payload)).type_of
        if self._since is not None and types.get("updated") != "timestamptz":
            raise BridgeError(
                f'the column "updated" of the payload "{self._payload}" is of type {types.get("updated", "(none)")}, '
                "so it cannot be compared with a time",
                "Cast it in the mapping, the JSON stays the same: r.updated::timestamptz as updated",
            )
        self._checked = True
