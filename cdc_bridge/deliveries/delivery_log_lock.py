"""A short transaction in which the daemon records nothing, so that what a command reads of the ledger stays so.

The daemon locks the endpoint's row first whenever it records. Who holds that lock can judge by the ledger and write to
it, without a race and without a deadlock. What the daemon has in memory it keeps in order itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.endpoints.store import announce
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


@asynccontextmanager
async def delivery_log_locked(connection: AsyncConnection[TupleRow], endpoint_id: EndpointId) -> AsyncIterator[None]:
    """Hold an endpoint's ledger, and at the end tell the daemons to look at what is due.

    Raises:
        BridgeError: the endpoint is gone.
        psycopg.Error: the database could not be used.
    """
    async with connection.transaction():
        cursor = await connection.execute(_queries["lock_endpoint"], {"endpoint_id": endpoint_id})
        if not cursor.rowcount:
            raise BridgeError("the endpoint was removed meanwhile")
        yield
        await announce(connection)
