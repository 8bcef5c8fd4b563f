"""What ``endpoint list`` and ``endpoint show`` display: status, options and figures.

Counts have a limit, so that they stay cheap however large the delivery log and the change log have grown. Each walks an
index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.capture.change_log import count_unread
from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.endpoints.lookup import EndpointRef, just_removed, resolve_endpoint
from cdc_bridge.endpoints.option import Kind, Option
from cdc_bridge.endpoints.option_columns import SHOWN, with_columns
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.endpoints.overview import EndpointOverview, endpoint_overviews
from cdc_bridge.endpoints.status import when
from cdc_bridge.endpoints.survey import EndpointSurvey, Search, survey
from cdc_bridge.model import EndpointId, Seq, SkipReason, Xid
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.session import command_session

_queries = load_queries(__name__)

COUNT_LIMIT = 100_000
"""Upper limit of each count."""

_AS_THEY_ARE = ("created_at", "reconciled_at", "reconciled_missing", "reconciled_stale", "revision")

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """What stands in an endpoint's row beside its status, without what is secret in it."""

    options: Mapping[str, Any]
    """What may be shown of each option, by its key in JSON."""
    position: Position
    created_at: datetime
    reconciled_at: datetime | None
    reconciled_missing: int | None
    reconciled_stale: int | None
    skipped: Mapping[SkipReason, int]
    """Deliveries skipped so far, by the reason."""
    revision: str
    """Of the options, secrets included: another one after each change of theirs. Whoever may not change them must not
    see it: it tells whether a header's value was guessed."""

    @property
    def told_skipped(self) -> str:
        """What was skipped, for people."""
        return ", ".join(f"{number:,} {reason}" for reason, number in self.skipped.items() if number) or "none"


@dataclass(frozen=True, slots=True)
class Count:
    """A number, exact or a lower bound."""

    number: int
    exact: bool = True

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.number:,}" if self.exact else f"at least {self.number:,}"


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """What is done, and what there is to do."""

    pending: Count
    """Deliveries that are queued or retrying."""
    dead: Count
    """Dead letters."""
    delivered: Count
    """Deliveries of the last 24 hours."""
    backlog: Count
    """Changes in the log that are not in the delivery log yet."""


@dataclass(frozen=True, slots=True)
class ShownEndpoint:
    """One endpoint, with everything that may be shown."""

    overview: EndpointOverview
    record: EndpointRecord
    figures: EndpointFigures

    def option_lines(self, zone: tzinfo | None = None) -> Iterator[tuple[str, str]]:
        """Return label and value of each option, for people, with times in a time zone; ``None``: this machine's."""
        for option in OPTIONS.values():
            if (key := option.json_key) is not None:
                line = self._line(option, self.record.options[key], zone)
                if line is not None:
                    yield option.label, line

    def _line(self, option: Option, value: Any, zone: tzinfo | None) -> str | None:
        if option.secret and self.overview.in_settings:
            return "in the settings"
        match option.kind:
            case Kind.TIME:
                return when(value, zone)
            case Kind.SWITCH:
                return "on" if value else "off"
            case Kind.LINES:
                text = ", ".join(f"{line}: ***" for line in value) if option.secret else " and ".join(map(str, value))
            case Kind.KEY:
                text = "set" if value else ""
            case Kind.NUMBER:
                text = "" if value is None else f"{value:g} {option.unit}".strip()
            case Kind.TEXT | Kind.FILE | Kind.CHOICE:
                text = value or ""
        return text or option.absent


async def find_endpoints(database_url: str, max_lag_seconds: float, search: Search) -> EndpointSurvey:
    """Return the endpoints that match a search, and how many there are.

    Args:
        database_url: The database.
        max_lag_seconds: Lag from which an endpoint is in trouble.
        search: Which endpoints.

    Raises:
        BridgeError: The database cannot be read.
    """
    async with command_session(database_url) as connection:
        return await survey(connection, max_lag_seconds, search)


async def show_endpoint(database_url: str, name: str) -> ShownEndpoint:
    """Return everything of an endpoint that may be shown.

    Raises:
        BridgeError: There is none of that name, or the database cannot be read.
    """
    async with command_session(database_url) as connection:
        return await shown_endpoint(connection, name)


async def shown_endpoint(connection: Connection, name: str) -> ShownEndpoint:
    """Return everything of an endpoint that may be shown.

    Raises:
        BridgeError: There is none of that name.
    """
    endpoint = await resolve_endpoint(connection, name)
    record = await record_of(connection, endpoint)
    overviews = await endpoint_overviews(connection, name)
    if not overviews:
        raise just_removed(endpoint)
    return ShownEndpoint(overviews[0], record, await figures_of(connection, endpoint.endpoint_id, record.position))


async def record_of(connection: Connection, endpoint: EndpointRef) -> EndpointRecord:
    """Return an endpoint's options, position and last comparison.

    Raises:
        BridgeError: Somebody just removed it.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        parameters = {"endpoint_id": endpoint.endpoint_id}
        await cursor.execute(with_columns(_queries["endpoint_options"], SHOWN), parameters)
        row = await cursor.fetchone()
    if row is None:
        raise just_removed(endpoint)
    xid, seq = row["place_xid"], row["place_seq"]
    return EndpointRecord(
        options={key: option.shown(row[key]) for option in OPTIONS.values() if (key := option.json_key) is not None},
        position=Position(Snapshot.parse(row["snapshot"]), None if xid is None else Place(Xid(xid), Seq(seq))),
        **{name: row[name] for name in _AS_THEY_ARE},
        skipped={reason: row[f"skipped_{reason}"] for reason in SkipReason},
    )


async def figures_of(connection: Connection, endpoint_id: EndpointId, position: Position) -> EndpointFigures:
    """Count what is done and what there is to do."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["endpoint_counts"], {"endpoint_id": endpoint_id, "limit": COUNT_LIMIT})
        counts: dict[str, Any] = await cursor.fetchone() or {}
    return EndpointFigures(
        pending=_count(counts["pending"]),
        dead=_count(counts["dead"]),
        # Only the newest rows were looked at: there may be more behind them.
        delivered=Count(counts["delivered"], exact=counts["looked_at"] < COUNT_LIMIT),
        backlog=_count(await count_unread(connection, position, COUNT_LIMIT)),
    )


def _count(number: int) -> Count:
    return Count(number, exact=number < COUNT_LIMIT)
