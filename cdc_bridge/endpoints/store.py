"""The endpoints in the database, as a daemon sees them: which there are, which it may take, which it holds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.endpoints.option_columns import OF_ALL, with_columns
from cdc_bridge.endpoints.options import OPTIONS, Endpoint
from cdc_bridge.model import EndpointId, Seq, Xid
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class ListedEndpoint:
    """An endpoint as its row has it."""

    endpoint_id: EndpointId
    name: str
    in_settings: bool
    paused: bool
    disabled: bool
    same_cluster: bool
    """Whether its position is made of this cluster's transaction ids."""
    free: bool
    """Whether it may be taken."""
    fencing_token: int
    lease_ends_in_seconds: float | None
    row: dict[str, Any] = field(compare=False, repr=False)

    @property
    def stored(self) -> tuple[Any, ...]:
        """Its name and options as its row has them."""
        return (self.name, *(self.row[name] for name in OPTIONS))


@dataclass(frozen=True, slots=True)
class NewLease:
    """An endpoint that is ours now, and how far it is."""

    endpoint_id: EndpointId
    fencing_token: int
    position: Position
    last_hour: LastHour | None
    """What whoever had it before counted; ``None``: nothing."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """How an endpoint is, for people, as the daemon that holds it knows."""

    failing_since: datetime | None = None
    next_probe_at: datetime | None = None
    problem: str | None = None
    in_flight: int = 0
    """Calls under way."""
    deliveries_per_second: float = 0.0
    """Calls accepted, over the last minute."""
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_failure: str | None = None
    """Why the last call was refused that was."""
    last_hour: LastHour | None = None
    """Calls by the minute, also by whoever had it before; ``None``: none is known."""


async def declare_endpoint(connection: Connection, endpoint: Endpoint, *, from_oldest: bool) -> None:
    """Insert the endpoint of the settings, or update its options. Its headers and secrets stay in the settings.

    Args:
        connection: To the database.
        endpoint: The endpoint.
        from_oldest: Whether a new one begins with the oldest change in the log, else with what is committed now.
    """
    options = endpoint.storable()
    await connection.execute(
        with_columns(_queries["declare_endpoint"], options),
        {**options, "name": endpoint.name, "from_oldest": from_oldest},
    )


async def acquire_leases(
    connection: Connection,
    endpoints: Sequence[ListedEndpoint],
    daemon_number: int,
    daemon_name: str,
    lease_seconds: float,
) -> list[NewLease]:
    """Take some endpoints; return those that nobody else took first.

    Raises:
        psycopg.Error: the database could not be written.
    """
    parameters = {
        "endpoint_ids": [endpoint.endpoint_id for endpoint in endpoints],
        "fencing_tokens": [endpoint.fencing_token for endpoint in endpoints],
        "daemon_number": daemon_number,
        "daemon_name": daemon_name,
        "lease_seconds": lease_seconds,
    }
    cursor = await connection.execute(_queries["acquire_leases"], parameters)
    return [_taken(record) for record in await cursor.fetchall()]


async def end_sessions_of_expired_leases(
    connection: Connection, endpoint_ids: Collection[EndpointId], daemon_name: str
) -> int:
    """End the sessions of daemons that hold endpoints and have let their leases run out; return how many.

    Args:
        connection: to the database.
        endpoint_ids: the endpoints that cannot be taken.
        daemon_name: ours, whose sessions are left alone.

    Raises:
        psycopg.Error: the database refused it.
    """
    parameters = {"endpoint_ids": list(endpoint_ids), "daemon_name": daemon_name}
    cursor = await connection.execute(_queries["end_sessions_of_expired_leases"], parameters)
    record = await cursor.fetchone()
    return record[0] if record else 0


def _taken(record: TupleRow) -> NewLease:
    endpoint_id, fencing_token, snapshot, place_xid, place_seq, *hour = record
    place = None if place_xid is None else Place(Xid(place_xid), Seq(place_seq))
    return NewLease(
        EndpointId(endpoint_id), fencing_token, Position(Snapshot.parse(snapshot), place), last_hour_of(*hour)
    )


def last_hour_of(
    last_minute_at: datetime | None, accepted: Sequence[int] | None, refused: Sequence[int] | None
) -> LastHour | None:
    """Return the calls that an endpoint's row has; ``None``: it has none."""
    if last_minute_at is None or accepted is None or refused is None:
        return None
    return LastHour(last_minute_at, tuple(accepted), tuple(refused))


_CALLS = (
    "last_success_at", "last_failure_at", "last_failure", "last_minute_at", "delivered_by_minute", "failed_by_minute",
)  # fmt: skip


def _calls_of(state: EndpointState) -> tuple[Any, ...]:
    """Return what the row keeps of an endpoint's calls; arrays as text, as those of many endpoints go as one."""
    last = state.last_success_at, state.last_failure_at, state.last_failure
    hour = state.last_hour
    if hour is None:
        return *last, None, None, None
    return *last, hour.last_minute_at, _array(hour.accepted), _array(hour.refused)


def _array(counts: Sequence[int]) -> str:
    return "{" + ",".join(map(str, counts)) + "}"


async def renew_and_list(
    connection: Connection,
    held: Collection[tuple[EndpointId, int, EndpointState]],
    daemon_number: int,
    lease_seconds: float,
    *,
    listening: bool,
) -> tuple[set[EndpointId], list[ListedEndpoint]]:
    """Keep the endpoints held, with their fencing_tokens, and write how they are.

    Args:
        connection: to the database.
        held: them.
        daemon_number: number of our session, which may be another than when they were taken.
        lease_seconds: for how long.
        listening: whether we hear the doorbell.

    Returns:
        those that are still ours, and all endpoints.

    Raises:
        psycopg.Error: the database could not be written.
    """
    parameters = {
        "endpoint_ids": [endpoint_id for endpoint_id, _, _ in held],
        "fencing_tokens": [fencing_token for _, fencing_token, _ in held],
        "failing_since": [state.failing_since for _, _, state in held],
        "next_probe_at": [state.next_probe_at for _, _, state in held],
        "problems": [state.problem for _, _, state in held],
        "in_flight": [state.in_flight for _, _, state in held],
        "deliveries_per_second": [state.deliveries_per_second for _, _, state in held],
        "listening": listening,
        "daemon_number": daemon_number,
        "lease_seconds": lease_seconds,
    }
    calls = [_calls_of(state) for _, _, state in held]
    parameters |= {name: [of[number] for of in calls] for number, name in enumerate(_CALLS)}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(with_columns(_queries["renew_and_list"], OF_ALL), parameters)
        rows = await cursor.fetchall()
    renewed = {EndpointId(row["endpoint_id"]) for row in rows if row["renewed"]}
    names = ListedEndpoint.__dataclass_fields__.keys() - {"row"}
    return renewed, [ListedEndpoint(**{name: row[name] for name in names}, row=row) for row in rows]


async def list_endpoints(connection: Connection, endpoint_id: EndpointId | None = None) -> list[dict[str, Any]]:
    """Return the rows of all endpoints or of one: its name, its stored options and what keeps it from being sent to."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(with_columns(_queries["list_endpoints"], OF_ALL), {"endpoint_id": endpoint_id})
        return await cursor.fetchall()


async def release_lease(
    connection: Connection,
    endpoint_id: EndpointId,
    fencing_token: int,
    state: EndpointState,
    problem: str | None,
    *,
    disable: bool,
) -> None:
    """Give an endpoint back.

    Args:
        connection: to the database.
        endpoint_id: which.
        fencing_token: ours; if it is not the newest, nothing happens.
        state: how it was last; of its calls since the last renewal nothing is known yet.
        problem: why nobody calls it now, if that is so.
        disable: it wants no calls any more.

    Raises:
        psycopg.Error: the database could not be written.
    """
    parameters = {"endpoint_id": endpoint_id, "fencing_token": fencing_token, "problem": problem}
    parameters |= dict(zip(_CALLS, _calls_of(state), strict=True))
    async with connection.transaction():
        if disable:
            await connection.execute(_queries["disable_endpoint"], parameters)
        await connection.execute(_queries["release_lease"], parameters)
        await announce(connection)


async def record_problem(connection: Connection, endpoint: ListedEndpoint, problem: str) -> None:
    """Write what keeps an endpoint from being called, if nobody has taken it since it was listed.

    Raises:
        psycopg.Error: the database could not be written.
    """
    parameters = {"endpoint_id": endpoint.endpoint_id, "fencing_token": endpoint.fencing_token, "problem": problem}
    await connection.execute(_queries["record_problem"], parameters)


async def announce(connection: Connection) -> None:
    """Notify the daemons that an endpoint or the schedule of a delivery has changed."""
    await connection.execute(_queries["announce_endpoints"])
