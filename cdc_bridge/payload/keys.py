"""Reads the keys of the reservations that an endpoint gets, a page at a time, which is bounded in keys and in bytes.

They come in the order of the payload's "id" and in that column's own type, so that the index of the key serves each
page, whatever the type.
"""

from __future__ import annotations

from datetime import datetime

from cdc_bridge.errors import BridgeError
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.conditions import require_fitting
from cdc_bridge.payload.definition import payload_definition
from cdc_bridge.payload.isolated import run_isolated
from cdc_bridge.payload.subscription import EVERYTHING, Subscription
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection

_queries = load_queries(__name__)

_PAGE_BYTES = 1_000_000


class ReservationKeys:
    """A cursor over the keys of the reservations that an endpoint gets, or of those updated since a time."""

    def __init__(
        self, since: datetime | None, subscription: Subscription = EVERYTHING, *, created: bool = False
    ) -> None:
        """Start before the first key.

        Args:
            since: Lower bound of the column "updated", or of "created" where that is null; a reservation that has
                neither is always among them. ``None``: no bound.
            subscription: What the endpoint gets.
            created: Whether it is the lower bound of "created" whatever "updated" is.
        """
        self._since = since
        self._subscription = subscription
        self._created = created
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
            PayloadInvalid: The payload is not defined, or a condition does not fit it.
            BridgeError: "updated" is not a timestamp with time zone.
        """
        await self._check(connection)
        parameters = self._parameters | {"after": self._last, "limit": limit, "max_bytes": _PAGE_BYTES}
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
            PayloadInvalid: The payload is not defined, or a condition does not fit it.
            BridgeError: "updated" is not a timestamp with time zone.
        """
        await self._check(connection)
        cursor = await run_isolated(connection, _queries["count_keys"].encode(), self._parameters)
        ((number,),) = await cursor.fetchall()
        return int(number)

    @property
    def _parameters(self) -> dict[str, object]:
        return self._subscription.parameters | {"since": self._since, "created": self._created}

    async def _check(self, connection: LoadingConnection) -> None:
        if self._checked:
            return
        if self._since is not None:
            await self._require_time(connection)
        await require_fitting(connection, self._subscription)
        self._checked = True

    async def _require_time(self, connection: LoadingConnection) -> None:
        """Make sure that there is a time to compare with, in the payload or in the one that the contract describes."""
        column = "created" if self._created else "updated"
        definition = await payload_definition(connection, self._subscription.payload)
        found = definition.type_of_time(column)
        if found != "timestamptz" and definition.base is not None:
            definition = await payload_definition(connection, definition.base)
            found = definition.type_of_time(column)
        if found != "timestamptz":
            raise BridgeError(
                f'the column "{column}" of the payload "{definition.name}" is of type {found or "(none)"}, '
                "so it cannot be compared with a time",
                f"Cast it in the mapping, the JSON stays the same: r.{column}::timestamptz as {column}",
            )
