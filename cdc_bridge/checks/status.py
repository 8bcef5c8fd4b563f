"""What ``status`` shows: capture, endpoints, and the transaction that holds anything back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.older_writers import Writer, oldest_writer
from cdc_bridge.checks.capture import check_capture
from cdc_bridge.checks.verdict import Check
from cdc_bridge.endpoints.overview import EndpointOverview, endpoint_overviews


@dataclass(frozen=True, slots=True)
class Status:
    """State of the whole bridge."""

    at: datetime
    database: str
    capture: Check
    endpoints: Sequence[EndpointOverview]
    writer: Writer | None
    """The oldest open transaction that has written; its changes arrive when it commits."""


async def read_status(connection: AsyncConnection[TupleRow]) -> Status:
    """Read the state of the whole bridge."""
    writer = await oldest_writer(connection)  # First, so that none of the statements below counts.
    return Status(
        at=datetime.now(UTC),
        database=connection.info.dbname,
        capture=await check_capture(connection),
        endpoints=await endpoint_overviews(connection),
        writer=writer,
    )
