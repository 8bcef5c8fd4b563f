"""The daemon's state in one line, for ``systemctl status``: the status of the endpoints that it delivers to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.listener import Listener
from cdc_bridge.database import Database
from cdc_bridge.errors import InstallationError
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import load_queries
from cdc_bridge.runtime.lease_coordinator import LeaseCoordinator
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoints

_queries = load_queries(__name__)

_READ_EVERY_SECONDS = 10.0
_READ_MANY_EVERY_SECONDS = 60.0
_MANY = 100
_MOST_NAMED = 5


class StatusLine:
    """Background task that reads the statuses of the endpoints that this daemon leases."""

    def __init__(
        self, database: Database, listener: Listener, coordinator: LeaseCoordinator, supervisor: LeasedEndpoints
    ) -> None:
        """Prepare to read.

        Args:
            database: Has the endpoints.
            listener: Says whether notifications arrive.
            coordinator: Knows whether the database was lost.
            supervisor: Says which endpoints this daemon leases.
        """
        self._database = database
        self._listener = listener
        self._coordinator = coordinator
        self._supervisor = supervisor
        self._statuses = ""

    async def run(self) -> None:
        """Read the statuses every few seconds until cancelled."""
        while True:
            leased = [one.lease.endpoint_id for one in self._supervisor.leased]
            with suppress(InstallationError):  # The supervisor meets it too, and decides what follows.
                self._statuses = await self._database.patiently(partial(_read, leased=leased))
            await asyncio.sleep(_READ_EVERY_SECONDS if len(leased) <= _MANY else _READ_MANY_EVERY_SECONDS)

    def __str__(self) -> str:
        """Return the line."""
        if self._database.lost or self._coordinator.database_lost:
            return "Waiting for the database"
        if not self._supervisor.number_leased:
            return "Standby: no endpoint is assigned to this daemon"
        if not self._statuses:
            return "Starting"
        return self._statuses + ("" if self._listener.fallen_back is None else "; polling, no notifications")


def describe(statuses: Sequence[tuple[str, str, str | None]]) -> str:
    """Return endpoints with their statuses in one line.

    Args:
        statuses: Name, status and reason of each endpoint.
    """
    return "; ".join(f"{name} is {status}" + (f": {reason}" if reason else "") for name, status, reason in statuses)


def describe_many(by_status: Sequence[tuple[str, int]]) -> str:
    """Return how many endpoints have which status in one line."""
    number = sum(number for _, number in by_status)
    return f"{number:,} endpoints: " + ", ".join(f"{number:,} {status}" for status, number in by_status)


async def _read(connection: AsyncConnection[TupleRow], leased: Sequence[EndpointId]) -> str:
    asked = {"endpoint_ids": list(leased)}
    if len(leased) > _MOST_NAMED:
        cursor = await connection.execute(_queries["assigned_by_status"], asked)
        return describe_many([(status, number) for status, number in await cursor.fetchall()])
    cursor = await connection.execute(_queries["assigned_statuses"], asked)
    return describe([(name, status, reason) for name, status, reason in await cursor.fetchall()])
