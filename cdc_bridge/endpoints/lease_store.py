"""Lease statements: acquire, renew and release endpoints, and report their state with each renewal and release.

All but the release run in the daemon's heartbeat session: acquiring is bound to the number that this session has
locked. :mod:`~cdc_bridge.endpoints.lease` explains leases.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from psycopg import AsyncConnection, OperationalError
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.database import Database
from cdc_bridge.endpoints.endpoint_state import REPORTED_COLUMNS, EndpointState, last_hour_of, reported_values
from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.option_columns import OF_ALL, with_columns
from cdc_bridge.endpoints.store import ListedEndpoint, announce
from cdc_bridge.errors import ServerReplaced
from cdc_bridge.model import EndpointId, History, Seq, Xid
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import ServerIncarnation, Session

_queries = load_queries(__name__)

Connection = AsyncConnection[TupleRow]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewLease:
    """An endpoint that this daemon has just leased, and its progress so far."""

    lease: Lease
    position: Position
    history: History
    """Of the server: what stands in front of the numbers of deliveries."""
    last_hour: LastHour | None
    """Attempts counted under earlier leases; ``None``: none."""


class HeartbeatSession(Protocol):
    """The daemon's heartbeat session."""

    server: ServerIncarnation | None
    """Where it leads to."""
    number: int
    """Changes when the session is opened anew, so it is read inside the operation."""
    name: str

    async def run(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        """Run an operation in the session."""


class DatabaseLeaseStore:
    """Leases as PostgreSQL keeps them."""

    def __init__(self, session: HeartbeatSession, database: Database, lease_seconds: float) -> None:
        """Prepare the store.

        Args:
            session: The heartbeat session.
            database: Where releases go, so that none waits for the session.
            lease_seconds: How long a lease lasts without renewal.
        """
        self._session = session
        self._database = database
        self._lease_seconds = lease_seconds

    async def renew_and_list(
        self, leases: Sequence[tuple[Lease, EndpointState]], *, listening: bool
    ) -> tuple[set[EndpointId], list[ListedEndpoint]]:
        """Renew leases and report the state of their endpoints.

        Args:
            leases: This daemon's leases.
            listening: Whether this daemon gets notifications.

        Returns:
            The endpoints whose lease is still ours, and all endpoints. None is ours that another server gave.
        """
        return await self._session.run(partial(self._renew_and_list, leases=leases, listening=listening))

    def is_from_here(self, lease: Lease) -> bool:
        """Return whether a lease was acquired on the server that the heartbeat session leads to now."""
        return lease.server == self._session.server

    async def acquire(self, endpoints: Collection[ListedEndpoint]) -> list[NewLease]:
        """Lease those of some endpoints that no other daemon has leased since they were listed."""
        return await self._session.run(partial(self._acquire, endpoints=endpoints))

    async def end_expired_sessions(self, endpoint_ids: Collection[EndpointId]) -> int:
        """End the sessions of other daemons that let their leases of these endpoints expire.

        Returns:
            How many sessions were ended.
        """
        return await self._session.run(partial(self._end_expired_sessions, endpoint_ids=endpoint_ids))

    async def record_problem(self, endpoint: ListedEndpoint, problem: str) -> None:
        """Record why an endpoint is invalid, unless it was leased since it was listed."""
        parameters = {"endpoint_id": endpoint.endpoint_id, "fencing_token": endpoint.fencing_token, "problem": problem}
        await self._session.run(lambda connection: connection.execute(_queries["record_problem"], parameters))

    async def release(self, lease: Lease, state: EndpointState, problem: str | None, *, disable: bool) -> None:
        """Release a lease; does nothing if its fencing token is not the newest, or another server has taken over.

        Args:
            lease: The lease.
            state: The endpoint's last state; its attempts since the last renewal are not reported yet.
            problem: Why nobody delivers to the endpoint now, if so.
            disable: Whether the endpoint asked for no more deliveries (410).
        """
        with suppress(ServerReplaced):
            await self._database.of_server(lease.server).patiently(
                partial(_release, lease=lease, state=state, problem=problem, disable=disable),
            )

    async def _renew_and_list(
        self, connection: Session, leases: Sequence[tuple[Lease, EndpointState]], *, listening: bool
    ) -> tuple[set[EndpointId], list[ListedEndpoint]]:
        leases = [(lease, state) for lease, state in leases if lease.server == connection.incarnation]
        states = [state for _, state in leases]
        reported = [reported_values(state) for state in states]
        parameters = {
            "endpoint_ids": [lease.endpoint_id for lease, _ in leases],
            "fencing_tokens": [lease.fencing_token for lease, _ in leases],
            "failing_since": [state.failing_since for state in states],
            "next_probe_at": [state.next_probe_at for state in states],
            "problems": [state.problem for state in states],
            "rate_limited_since": [state.rate_limited_since for state in states],
            "in_flight": [state.in_flight for state in states],
            "deliveries_per_second": [state.deliveries_per_second for state in states],
            "listening": listening,
            "daemon_number": self._session.number,
            "lease_seconds": self._lease_seconds,
        } | {name: [values[index] for values in reported] for index, name in enumerate(REPORTED_COLUMNS)}
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(with_columns(_queries["renew_and_list"], OF_ALL), parameters)
            rows = await cursor.fetchall()
        if rows and rows[0]["endpoint_table"] != connection.incarnation.endpoint_table:
            await connection.close()  # The next session finds another server.
            raise OperationalError("the schema cdc_bridge was restored")
        renewed = {EndpointId(row["endpoint_id"]) for row in rows if row["renewed"]}
        return renewed, [ListedEndpoint.from_row(row) for row in rows]

    async def _acquire(self, connection: Session, endpoints: Collection[ListedEndpoint]) -> list[NewLease]:
        parameters = {
            "endpoint_ids": [endpoint.endpoint_id for endpoint in endpoints],
            "fencing_tokens": [endpoint.fencing_token for endpoint in endpoints],
            "daemon_number": self._session.number,
            "daemon_name": self._session.name,
            "lease_seconds": self._lease_seconds,
            "server": str(connection.incarnation),
        }
        cursor = await connection.execute(_queries["acquire_leases"], parameters)
        return [_new_lease(record, connection.incarnation) for record in await cursor.fetchall()]

    async def _end_expired_sessions(self, connection: Connection, endpoint_ids: Collection[EndpointId]) -> int:
        parameters = {"endpoint_ids": list(endpoint_ids), "daemon_name": self._session.name}
        cursor = await connection.execute(_queries["end_sessions_of_expired_leases"], parameters)
        record = await cursor.fetchone()
        return record[0] if record else 0


def _new_lease(record: TupleRow, server: ServerIncarnation) -> NewLease:
    endpoint_id, fencing_token, snapshot, place_xid, place_seq, history, *hour = record
    place = None if place_xid is None else Place(Xid(place_xid), Seq(place_seq))
    lease = Lease(EndpointId(endpoint_id), fencing_token, server)
    return NewLease(lease, Position(Snapshot.parse(snapshot), place), History(history), last_hour_of(*hour))


async def _release(
    connection: Connection, lease: Lease, state: EndpointState, problem: str | None, *, disable: bool
) -> None:
    parameters = {"endpoint_id": lease.endpoint_id, "fencing_token": lease.fencing_token, "problem": problem}
    parameters |= dict(zip(REPORTED_COLUMNS, reported_values(state), strict=True))
    async with connection.transaction():
        if disable:
            await connection.execute(_queries["disable_endpoint"], parameters)
        await connection.execute(_queries["release_lease"], parameters)
        await announce(connection)
