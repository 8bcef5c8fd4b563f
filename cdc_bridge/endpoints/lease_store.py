"""Statements about leases: register this daemon, renew, list what has changed, acquire, report and release.

All but reports and releases run in the daemon's heartbeat session, which locks the daemon's number.
:mod:`~cdc_bridge.endpoints.lease` explains leases.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from psycopg import AsyncConnection, AsyncCursor, OperationalError
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.database import Database
from cdc_bridge.endpoints.endpoint_state import REPORTED_COLUMNS, EndpointState, last_hour_of, reported_values
from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.endpoints.option_columns import OF_ALL, with_columns
from cdc_bridge.endpoints.store import ListedEndpoint, announce
from cdc_bridge.errors import ServerReplaced
from cdc_bridge.model import EndpointId, History, Seq, Xid
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import Session

_queries = load_queries(__name__)

Connection = AsyncConnection[TupleRow]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewLease:
    """An endpoint that this daemon has just leased, and its progress so far."""

    lease: Lease
    position: Position
    highest_seq: Seq
    """The highest number in its delivery log; 0: there is none."""
    last_hour: LastHour | None
    """Attempts counted under earlier leases; ``None``: none."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a heartbeat found."""

    registered: bool
    """Whether this daemon still has its leases."""
    replaced: bool
    """If not, whether it is because another server serves the database."""
    ended: Sequence[int]
    """Other daemons that are not live any more and have not been ended yet."""
    others: int
    """How many other daemons are live."""
    next_end_in_seconds: float | None
    """When one of these is not, unless it renews; ``None``: there is none."""
    free: Sequence[EndpointId]
    """Endpoints that nobody has leased and that could get deliveries."""
    changed: bool
    """Whether somebody has changed an endpoint since the snapshot that was given."""


@dataclass(frozen=True, slots=True)
class EndpointList:
    """The endpoints that somebody has changed."""

    listed_in: str
    """The snapshot that they were read in, for the next time."""
    endpoint_ids: frozenset[EndpointId]
    """All endpoints that there are."""
    changed: Sequence[ListedEndpoint]


@dataclass(frozen=True, slots=True)
class Release:
    """A lease to release."""

    lease: Lease
    state: EndpointState
    """The endpoint's last state; its attempts since the last report are not reported yet."""
    problem: str | None = None
    """Why nobody delivers to the endpoint now, if so."""
    disable: bool = False
    """Whether the endpoint asked for no more deliveries (410)."""


class HeartbeatSession(Protocol):
    """The daemon's heartbeat session."""

    name: str

    async def run(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        """Run an operation in the session."""

    async def lock(self, daemon_id: int) -> bool:
        """Lock this daemon's number, now and whenever the session is opened anew; return whether that was possible."""


class DatabaseLeaseStore:
    """Leases as PostgreSQL keeps them."""

    def __init__(self, session: HeartbeatSession, database: Database, lease_seconds: float) -> None:
        """Prepare the store.

        Args:
            session: The heartbeat session.
            database: Where reports and releases go, so that none waits for the session.
            lease_seconds: How long leases last without renewal.
        """
        self._session = session
        self._database = database
        self._lease_seconds = lease_seconds

    async def register(self, *, listening: bool) -> Registration:
        """Register this daemon anew.

        Args:
            listening: Whether this daemon gets notifications.
        """
        return await self._session.run(partial(self._register, listening=listening))

    async def renew(self, registration: Registration, *, listening: bool, listed_in: str | None) -> Renewal:
        """Renew this daemon's registration, and with it all of its leases.

        Args:
            registration: The registration.
            listening: Whether this daemon gets notifications.
            listed_in: The snapshot of the last list; ``None``: there was none.
        """
        return await self._session.run(
            partial(self._renew, registration=registration, listening=listening, listed_in=listed_in)
        )

    async def list_changed(self, listed_in: str | None) -> EndpointList:
        """Return the endpoints that somebody has changed since a snapshot; ``None``: all."""
        return await self._session.run(partial(_list_changed, listed_in=listed_in))

    async def end(self, daemon_ids: Collection[int]) -> int:
        """End the leases of daemons that are not live any more, and the sessions of those that are stuck.

        Returns:
            How many sessions were ended.
        """
        return await self._session.run(partial(self._end, daemon_ids=daemon_ids))

    async def acquire(self, registration: Registration, endpoint_ids: Collection[EndpointId]) -> list[NewLease]:
        """Lease those of some endpoints that are free."""
        return await self._session.run(
            partial(self._acquire, registration=registration, endpoint_ids=list(endpoint_ids))
        )

    async def free_all_but(self, registration: Registration, endpoint_ids: Collection[EndpointId]) -> bool:
        """Release the endpoints that this daemon does not know to have leased; return whether that was all of them."""
        parameters = {"daemon_id": registration.daemon_id, "endpoint_ids": list(endpoint_ids)}
        return await self._session.run(partial(_free_all_but, parameters=parameters))

    async def record_problem(self, endpoint_id: EndpointId, problem: str) -> bool:
        """Record why an endpoint is invalid, if nobody has leased it; return whether that was so."""
        parameters = {"endpoint_id": endpoint_id, "problem": problem}
        cursor = await self._session.run(lambda connection: connection.execute(_queries["record_problem"], parameters))
        return cursor.rowcount > 0

    async def report(
        self, registration: Registration, states: Sequence[tuple[Lease, EndpointState]]
    ) -> frozenset[EndpointId]:
        """Report the states of endpoints; return of which: not of those whose rows somebody has locked."""
        return await self._session.run(partial(_report, registration=registration, states=states))

    async def release(self, registration: Registration, releases: Sequence[Release]) -> frozenset[EndpointId]:
        """Release leases, but none that is not ours any more, or if another server has taken over.

        Returns:
            Those that are still ours, as somebody has locked the endpoints' rows.
        """
        with suppress(ServerReplaced):
            return await self._database.of_server(registration.server).patiently(
                partial(_release, registration=registration, releases=releases)
            )
        return frozenset()

    async def unregister(self, registration: Registration) -> None:
        """Release all leases, and end the registration."""
        with suppress(ServerReplaced):
            await self._database.of_server(registration.server).patiently(partial(_unregister, registration.daemon_id))

    async def _register(self, connection: Session, *, listening: bool) -> Registration:
        parameters = {
            "name": self._session.name,
            "lease_seconds": self._lease_seconds,
            "listening": listening,
            "server": str(connection.incarnation),
        }
        while True:
            cursor = await connection.execute(_queries["register_daemon"], parameters)
            ((daemon_id, table, history),) = await cursor.fetchall()
            if await self._session.lock(daemon_id):
                return Registration(daemon_id, connection.incarnation, History(history), table)

    async def _renew(
        self, connection: Session, registration: Registration, *, listening: bool, listed_in: str | None
    ) -> Renewal:
        if connection.incarnation != registration.server:
            return Renewal(
                registered=False, replaced=True, ended=(), others=0, next_end_in_seconds=None, free=(), changed=False
            )
        parameters = {
            "daemon_id": registration.daemon_id,
            "lease_seconds": self._lease_seconds,
            "listening": listening,
            "listed_in": listed_in,
        }
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_queries["renew_daemon"], parameters)
            (row,) = await cursor.fetchall()
        if row.pop("endpoint_table") != connection.incarnation.endpoint_table:
            await connection.close()  # The next session finds another server.
            raise OperationalError("the schema cdc_bridge was restored")
        return Renewal(replaced=False, **row | {"free": [EndpointId(endpoint_id) for endpoint_id in row["free"]]})

    async def _end(self, connection: Session, daemon_ids: Collection[int]) -> int:
        stuck = []
        for daemon_id in daemon_ids:
            cursor = await connection.execute(_queries["end_daemon"], {"daemon_id": daemon_id})
            if await cursor.fetchone() != (True,):
                stuck.append(daemon_id)
        if not stuck:
            return 0
        # Another daemon was faster, or it is frozen and locks its row in mid-recording.
        parameters = {"daemon_ids": stuck, "name": self._session.name}
        cursor = await connection.execute(_queries["end_sessions_of_expired"], parameters)
        ((ended,),) = await cursor.fetchall()
        return int(ended)

    async def _acquire(
        self, connection: Session, registration: Registration, endpoint_ids: Sequence[EndpointId]
    ) -> list[NewLease]:
        parameters = {"endpoint_ids": endpoint_ids, "daemon_id": registration.daemon_id}
        cursor = await connection.execute(_queries["acquire_leases"], parameters)
        return [_new_lease(record, registration) for record in await cursor.fetchall()]


def _new_lease(record: TupleRow, registration: Registration) -> NewLease:
    endpoint_id, fencing_token, snapshot, place_xid, place_seq, highest_seq, *hour = record
    place = None if place_xid is None else Place(Xid(place_xid), Seq(place_seq))
    lease = Lease(EndpointId(endpoint_id), fencing_token, registration)
    return NewLease(lease, Position(Snapshot.parse(snapshot), place), Seq(highest_seq or 0), last_hour_of(*hour))


async def _list_changed(connection: Connection, listed_in: str | None) -> EndpointList:
    # In one transaction, so that each endpoint listed is among the ids.
    async with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("set transaction isolation level repeatable read")
        await cursor.execute(_queries["current_snapshot"])
        (now,) = await cursor.fetchall()
        await cursor.execute(_queries["endpoint_ids"])
        (ids,) = await cursor.fetchall()
        await cursor.execute(with_columns(_queries["changed_endpoints"], OF_ALL), {"listed_in": listed_in})
        rows = await cursor.fetchall()
    return EndpointList(
        now["snapshot"],
        frozenset(EndpointId(endpoint_id) for endpoint_id in ids["endpoint_ids"]),
        [ListedEndpoint.from_row(row) for row in rows],
    )


async def _report(
    connection: Session, registration: Registration, states: Sequence[tuple[Lease, EndpointState]]
) -> frozenset[EndpointId]:
    each = [state for _, state in states]
    parameters: dict[str, Any] = {
        "daemon_id": registration.daemon_id,
        "endpoint_ids": [lease.endpoint_id for lease, _ in states],
        "fencing_tokens": [lease.fencing_token for lease, _ in states],
        "failing_since": [state.failing_since for state in each],
        "next_probe_at": [state.next_probe_at for state in each],
        "problems": [state.problem for state in each],
        "rate_limited_since": [state.rate_limited_since for state in each],
        "in_flight": [state.in_flight for state in each],
        "deliveries_per_second": [state.deliveries_per_second for state in each],
    }
    # Planned each time, as the releases are: there may be many more endpoints than when it was planned last.
    cursor = await connection.execute(_queries["report_states"], parameters | _reported(each), prepare=False)
    return await _endpoint_ids(cursor)


def _reported(states: Sequence[EndpointState]) -> dict[str, list[Any]]:
    reported = [reported_values(state) for state in states]
    return {name: [values[index] for values in reported] for index, name in enumerate(REPORTED_COLUMNS)}


async def _free_all_but(connection: Session, parameters: dict[str, Any]) -> bool:
    cursor = await connection.execute(_queries["free_all_but"], parameters)
    return await cursor.fetchone() == (0,)


async def _endpoint_ids(cursor: AsyncCursor[TupleRow]) -> frozenset[EndpointId]:
    return frozenset(EndpointId(endpoint_id) for (endpoint_id,) in await cursor.fetchall())


async def _release(
    connection: Connection, registration: Registration, releases: Sequence[Release]
) -> frozenset[EndpointId]:
    def of(some: Sequence[Release]) -> dict[str, Any]:
        return {
            "daemon_id": registration.daemon_id,
            "endpoint_ids": [release.lease.endpoint_id for release in some],
            "fencing_tokens": [release.lease.fencing_token for release in some],
        }

    problems = {"problems": [release.problem for release in releases]}
    async with connection.transaction():
        if disabled := [release for release in releases if release.disable]:
            await connection.execute(_queries["disable_endpoints"], of(disabled), prepare=False)
        states = [release.state for release in releases]
        parameters = of(releases) | problems | _reported(states)
        await connection.execute(_queries["release_leases"], parameters, prepare=False)
        await announce(connection)
        return await _endpoint_ids(await connection.execute(_queries["still_leased"], of(releases), prepare=False))


async def _unregister(daemon_id: int, connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute(_queries["end_daemon"], {"daemon_id": daemon_id})
        await announce(connection)
