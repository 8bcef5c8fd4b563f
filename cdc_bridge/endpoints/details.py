"""Shows endpoints: which there are and how they are; of one, all its options and figures.

Counting has a limit, so that it stays cheap whatever the ledger and the log have grown to. Each count walks an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row, dict_row

from cdc_bridge.capture.change_log import count_unread
from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.endpoints.lookup import known_endpoints, no_such_endpoint
from cdc_bridge.endpoints.overview import EndpointOverview, endpoint_overviews
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import EndpointId, Seq, Xid
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.session import command_session

_queries = load_queries(__name__)

COUNT_LIMIT = 100_000
"""Nothing is counted further."""

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class EndpointOptionsNow:
    """How an endpoint is called, without what is secret in it."""

    ca_file: str | None
    client_certificate_file: str | None
    client_key_file: str | None
    max_in_flight: int
    latest_only: bool
    timeout_seconds: float
    connect_timeout_seconds: float
    header_names: Sequence[str]
    signed: bool
    rotating_until: datetime | None
    """Until when calls are signed with the secret before as well."""
    snapshot: str
    place_xid: int | None
    place_seq: int | None
    created_at: datetime
    reconciled_at: datetime | None
    reconciled_missing: int | None
    reconciled_stale: int | None

    @property
    def position(self) -> Position:
        """How far it is in the change log."""
        place = (
            None
            if self.place_xid is None or self.place_seq is None
            else Place(Xid(self.place_xid), Seq(self.place_seq))
        )
        return Position(Snapshot.parse(self.snapshot), place)


@dataclass(frozen=True, slots=True)
class Count:
    """A number, or that it is at least so much."""

    number: int
    exact: bool = True

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.number:,}" if self.exact else f"at least {self.number:,}"


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """What is done, and what there is to do."""

    waiting: Count
    """Deliveries that were refused and are to be tried again."""
    dead: Count
    """Deliveries that were given up."""
    delivered: Count
    """Deliveries of the last 24 hours."""
    backlog: Count
    """Changes in the log that are not in the ledger yet."""


@dataclass(frozen=True, slots=True)
class ShownEndpoint:
    """One endpoint, with everything that may be shown."""

    overview: EndpointOverview
    options: EndpointOptionsNow
    figures: EndpointFigures


async def all_endpoints(database_url: str) -> list[EndpointOverview]:
    """Return every endpoint by name.

    Raises:
        BridgeError: the database cannot be asked.
    """
    async with command_session(database_url) as connection:
        return await endpoint_overviews(connection)


async def show_endpoint(database_url: str, name: str) -> ShownEndpoint:
    """Return everything of an endpoint that may be shown.

    Raises:
        BridgeError: there is none of that name, or the database cannot be asked.
    """
    async with command_session(database_url) as connection:
        overview = await find_endpoint(connection, name)
        options = await options_of(connection, overview)
        return ShownEndpoint(overview, options, await figures_of(connection, overview.endpoint_id, options.position))


async def find_endpoint(connection: Connection, name: str) -> EndpointOverview:
    """Return one endpoint by its name.

    Raises:
        BridgeError: There is none of that name.
    """
    found = await endpoint_overviews(connection, name)
    if not found:
        raise no_such_endpoint(name, [endpoint.name for endpoint in await known_endpoints(connection)])
    return found[0]


async def options_of(connection: Connection, overview: EndpointOverview) -> EndpointOptionsNow:
    """Return how an endpoint is called.

    Raises:
        BridgeError: it was removed meanwhile.
        psycopg.Error: the database could not be read.
    """
    async with connection.cursor(row_factory=class_row(EndpointOptionsNow)) as cursor:
        await cursor.execute(_queries["endpoint_options"], {"endpoint_id": overview.endpoint_id})
        options = await cursor.fetchone()
    if options is None:
        raise removed_meanwhile(overview.name)
    return options


async def figures_of(connection: Connection, endpoint_id: EndpointId, position: Position) -> EndpointFigures:
    """Count what is done and what there is to do.

    Raises:
        psycopg.Error: the database could not be read.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["endpoint_counts"], {"endpoint_id": endpoint_id, "limit": COUNT_LIMIT})
        counts: dict[str, Any] = await cursor.fetchone() or {}
    return EndpointFigures(
        waiting=_count(counts["waiting"]),
        dead=_count(counts["dead"]),
        # The newest rows alone were looked at: there may be more behind them.
        delivered=Count(counts["delivered"], exact=counts["looked_at"] < COUNT_LIMIT),
        backlog=_count(await count_unread(connection, position, COUNT_LIMIT)),
    )


def _count(number: int) -> Count:
    return Count(number, exact=number < COUNT_LIMIT)


def removed_meanwhile(name: str) -> BridgeError:
    """Return what to say of an endpoint that was there a moment ago."""
    return BridgeError(f"endpoint {name} was removed in this moment by somebody else")
