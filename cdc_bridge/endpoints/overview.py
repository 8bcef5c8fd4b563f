"""How the endpoints stand, as the database has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.endpoints.endpoint_state import last_hour_of
from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.model import EndpointId, ReservationId, Seq
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


@dataclass(frozen=True, slots=True)
class EndpointNow:
    """One endpoint. What its daemon tells of it is as old as its last renewal of the lease, some seconds."""

    endpoint_id: EndpointId
    name: str
    state: str
    """One of those of the view ``cdc_bridge.endpoint_state``."""
    since: datetime | None
    problem: str | None
    daemon: str | None
    """Host and process id of the daemon that has it."""
    unread: int | None
    """Changes of the log behind its position; an estimate from 100,000 on. ``None``: of another cluster."""
    waiting: int
    """Deliveries that were refused and are tried again."""
    dead: int
    """Deliveries that were given up."""
    lag_seconds: float | None
    """Age of the oldest change that is unread or waits; ``None``: there is none."""
    in_flight: int | None
    """Calls under way; ``None``, as in the next two: no daemon has it."""
    listening: bool | None
    """Whether its daemon hears the doorbell; if not, it polls."""
    deliveries_per_second: float | None
    """Calls accepted, over a minute."""
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_failure: str | None
    last_hour: LastHour
    """Calls by the minute, up to the present one."""
    reconciled_missing: int | None
    """Reservations that the last comparison with e-Res found and it never got; ``None``: there was none."""
    reconciled_stale: int | None
    """Those that it did not get as they stand."""
    oldest_waiting_seq: Seq | None
    """The delivery that makes the lag, if it is one that waits; so the next three."""
    oldest_waiting_reservation: ReservationId | None
    oldest_waiting_attempts: int | None
    oldest_waiting_error: str | None

    @property
    def active(self) -> bool:
        """Whether calls are wanted."""
        return self.state not in {"paused", "disabled"}

    @property
    def backlog(self) -> int | None:
        """Changes that are not settled; ``None``: not known."""
        return None if self.unread is None else self.unread + self.waiting


async def endpoints_now(connection: AsyncConnection[TupleRow]) -> list[EndpointNow]:
    """Return how all endpoints stand, by name.

    Raises:
        psycopg.Error: the database could not be read.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["endpoint_states"])
        return [_endpoint_now(row) for row in await cursor.fetchall()]


def _endpoint_now(row: dict[str, Any]) -> EndpointNow:
    read_at = row.pop("read_at")
    counted = last_hour_of(*(row.pop(name) for name in ("last_minute_at", "delivered_by_minute", "failed_by_minute")))
    return EndpointNow(**row, last_hour=(counted or LastHour(read_at)).ending(read_at))
