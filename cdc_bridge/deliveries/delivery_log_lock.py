"""A short transaction in which the daemon records nothing, so that a command can read the delivery log and write to it.

The daemon locks the endpoint's row before it records. A command that holds that lock has neither a race nor a deadlock
with it. Deliveries in the daemon's memory are not affected: the daemon keeps those in order itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.endpoints.store import announce
from cdc_bridge.errors import NotFound
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


@asynccontextmanager
async def delivery_log_locked(connection: AsyncConnection[TupleRow], endpoint_id: EndpointId) -> AsyncIterator[None]:
    """Lock an endpoint's delivery log, and notify the daemons at commit that deliveries may be due.

    Raises:
        NotFound: The endpoint was removed.
    """
    async with connection.transaction():
        cursor = await connection.execute(_queries["lock_endpoint"], {"endpoint_id": endpoint_id})
        if not cursor.rowcount:
            raise NotFound("the endpoint was removed meanwhile")
        yield
        await announce(connection)
