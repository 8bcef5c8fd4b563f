"""What ``status`` shows: capture, the doorbell, each endpoint, and who holds anything back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.older_writers import Writer, oldest_writer
from cdc_bridge.checks.capture import check_capture
from cdc_bridge.checks.verdict import Check
from cdc_bridge.endpoints.details import endpoint_facts
from cdc_bridge.endpoints.overview import EndpointNow, endpoints_now
from cdc_bridge.endpoints.status import EndpointStanding, standing_of


@dataclass(frozen=True, slots=True)
class Status:
    """How everything is."""

    at: datetime
    database: str
    capture: Check
    endpoints: Sequence[tuple[EndpointNow, EndpointStanding]]
    writer: Writer | None
    """The oldest transaction that is open and has written; what it wrote comes when it commits."""


async def read_status(connection: AsyncConnection[TupleRow]) -> Status:
    """Look at everything.

    Raises:
        psycopg.Error: the database could not be read.
    """
    writer = await oldest_writer(connection)  # First: what we ask after this has no part in it.
    standings = {facts.endpoint_id: standing_of(facts) for facts in await endpoint_facts(connection)}
    now = await endpoints_now(connection)
    return Status(
        at=datetime.now(UTC),
        database=connection.info.dbname,
        capture=await check_capture(connection),
        # One that was added or removed between the two is seen the next time.
        endpoints=[
            (endpoint, standings[endpoint.endpoint_id]) for endpoint in now if endpoint.endpoint_id in standings
        ],
        writer=writer,
    )
