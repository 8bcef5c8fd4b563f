"""A registration of a daemon, as tests write it that use the delivery log without a daemon."""

from __future__ import annotations

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.model import EndpointId, History
from cdc_bridge.sessions import Session

_REGISTER = """
insert into cdc_bridge.daemon (name, alive_until, listening) values ('a test', now() + interval '1 hour', true)
returning daemon_id, tableoid::bigint
"""
_LEASE = "update cdc_bridge.endpoint set daemon_id = %s where endpoint_id = %s returning fencing_token"


async def lease_of(connection: AsyncConnection[TupleRow], session: Session, endpoint_id: EndpointId) -> Lease:
    """Register a daemon and have it lease an endpoint.

    Args:
        connection: With the right to write.
        session: A session of the daemon's.
        endpoint_id: The endpoint. It need not exist.
    """
    cursor = await connection.execute(_REGISTER)
    ((daemon_id, table),) = await cursor.fetchall()
    cursor = await connection.execute(_LEASE, (daemon_id, endpoint_id))
    tokens = await cursor.fetchall()
    registration = Registration(daemon_id, session.incarnation, History(1), table)
    return Lease(endpoint_id, tokens[0][0] if tokens else 0, registration)
