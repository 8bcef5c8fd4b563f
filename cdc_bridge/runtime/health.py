"""Caches health snapshots: the database is asked at most every few seconds, however many ask for its health.

A slow database does not hold anybody up: until the next snapshot is there, the last one is returned, marked as old.

While the database is away, a read waits for it. Only what it then asks of the database counts as its duration: else an
outage would be followed by a picture of its end, kept for as long again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.listener import Listener
from cdc_bridge.checks.capture import check_capture
from cdc_bridge.checks.schema import check_installation
from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.database import Database
from cdc_bridge.endpoints.overview import EndpointOverview, endpoint_overviews
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.endpoints.survey import FIRST_PAGE, EndpointSurvey, survey
from cdc_bridge.errors import BridgeError
from cdc_bridge.metrics import OWN_SERIES_UP_TO
from cdc_bridge.runtime.lease_coordinator import LeaseCoordinator
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint, LeasedEndpoints
from cdc_bridge.runtime.mapping_monitor import MappingMonitor
from cdc_bridge.runtime.readiness import Part, Problem, find_problems
from cdc_bridge.runtime.reload import CurrentSettings
from cdc_bridge.tasks import end
from cdc_bridge.transport.places import Places

READ_AT_MOST_EVERY_SECONDS = 2.0
_PAUSE_PER_SECOND_OF_READING = 1.0
_PAUSE_PER_SECOND_OF_READING_MANY = 9.0
_LONGEST_PAUSE_SECONDS = 10.0
_LEASED_AGAIN_WITHIN_SECONDS = 5.0
_RESPOND_WITHIN_SECONDS = 5.0
_RESPOND_WHILE_LOST_WITHIN_SECONDS = 0.5
_ALIVE_ALLOWANCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """Endpoints and problems at one moment."""

    survey: EndpointSurvey | None
    """What there is to say of all endpoints; ``None`` while the database is lost. While it is slow, that of before."""
    endpoints: Sequence[EndpointOverview]
    """All of them; of more than have metrics of their own, some of those in trouble."""
    problems: Sequence[Problem]
    database_up: bool
    leased: Collection[LeasedEndpoint]
    """Endpoints that this daemon leases; of many, those that it has delivered to lately."""
    number_leased: int
    listening: bool
    """Whether notifications arrive; if not, the daemon polls."""

    @property
    def has_all(self) -> bool:
        """Whether all endpoints are here, not only some."""
        return self.survey is None or self.survey.number <= OWN_SERIES_UP_TO


class HealthMonitor:
    """Caches health snapshots."""

    def __init__(
        self,
        database: Database,
        listener: Listener,
        coordinator: LeaseCoordinator,
        supervisor: LeasedEndpoints,
        *,
        mapping: MappingMonitor,
        places: Places,
        settings: CurrentSettings,
        alerts: Callable[[], str | None],
    ) -> None:
        """Prepare to read snapshots.

        Args:
            database: Has the endpoints and what captures.
            listener: Says whether notifications arrive.
            coordinator: Looks at the endpoints at intervals.
            supervisor: Says which endpoints this daemon delivers to.
            mapping: Looks at the payload and at capture.
            places: Know what this process ran out of.
            settings: Say how much lag is too much.
            alerts: Says why alerts cannot be sent; ``None``: nothing failed.
        """
        self._database = database
        self._listener = listener
        self._coordinator = coordinator
        self._supervisor = supervisor
        self._mapping = mapping
        self._places = places
        self._settings = settings
        self._alerts = alerts
        self._reading: asyncio.Task[HealthSnapshot] | None = None
        self._began_at = self._next_at = float("-inf")
        self._asked_at = float("inf")
        """When the read began to ask the database; it may have waited for it before, or not got so far."""
        self._latest: HealthSnapshot | None = None
        self._first_seen: dict[Part, datetime] = {}

    async def snapshot(self) -> HealthSnapshot:
        """Return a snapshot of a few seconds ago at most."""
        if self._reading is None and time.monotonic() >= self._next_at:
            self._began_at, self._asked_at = time.monotonic(), float("inf")
            self._reading = asyncio.create_task(self._read())
        if self._reading is not None:  # Whoever comes meanwhile gets the same one.
            within = _RESPOND_WHILE_LOST_WITHIN_SECONDS if self._database_lost else _RESPOND_WITHIN_SECONDS
            # Whoever comes late has less time left.
            await asyncio.wait([self._reading], timeout=max(0.0, self._began_at + within - time.monotonic()))
        if self._reading is not None and self._reading.done():
            self._keep(self._reading)
        return self._without_response() if self._reading is not None or self._latest is None else self._latest

    async def close(self) -> None:
        """End a read that is under way."""
        if self._reading is not None:
            await end([self._reading])

    def _keep(self, read: asyncio.Task[HealthSnapshot]) -> None:
        """Keep a snapshot. The longer the read took, the later is the next one: it may be work for the database."""
        self._reading = None
        self._latest = read.result()
        now = time.monotonic()
        per_second = _PAUSE_PER_SECOND_OF_READING if self._latest.has_all else _PAUSE_PER_SECOND_OF_READING_MANY
        pause_seconds = min(_LONGEST_PAUSE_SECONDS, per_second * (now - self._asked_at))
        self._next_at = now + max(READ_AT_MOST_EVERY_SECONDS, pause_seconds)

    @property
    def _database_lost(self) -> bool:
        return self._database.lost or self._coordinator.database_lost

    def _without_response(self) -> HealthSnapshot:
        if self._database_lost or self._latest is None:
            return self._snapshot_of(None, database="does not respond")
        slow = Problem(
            Part.DATABASE,
            "PostgreSQL is slow",
            f"the health check has taken {time.monotonic() - self._began_at:.0f} s so far",
            "See what keeps the server busy.",
        )
        before = [problem for problem in self._latest.problems if problem.part is not Part.DATABASE]
        return replace(self._latest, problems=[slow, *before])

    async def _read(self) -> HealthSnapshot:
        try:
            checks = await self._mapping.look()
            await self._until_leased_again()
            found = await self._database.patiently(self._ask)  # Last: who has an endpoint is true for seconds only.
        except BridgeError as error:
            checks = [Check("installation", Verdict.FAILED, error.problem, error.remedy)]
            return self._snapshot_of(None, checks)
        if found.capture is not None:
            checks = [*(check for check in checks if check.name != found.capture.name), found.capture]
        return self._snapshot_of(found, [found.installation, *checks])

    async def _until_leased_again(self) -> None:
        """Let this daemon look after its leases first, which expire in an outage: else nobody seems to have them."""
        if self._coordinator.database_lost:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEASED_AGAIN_WITHIN_SECONDS):
                    await self._coordinator.look_again()

    async def _ask(self, connection: AsyncConnection[TupleRow]) -> _Found:
        self._asked_at = time.monotonic()
        return await _read(connection, self._settings.now.max_lag_seconds)

    def _snapshot_of(
        self,
        found: _Found | None,
        checks: Sequence[Check] = (),
        *,
        database: str | None = None,
    ) -> HealthSnapshot:
        problems = find_problems(
            database=database,
            checks=checks,
            polling_because=self._listener.fallen_back,
            reconnecting=self._listener.reconnecting,
            out_of=self._places.problem,
            alerts=self._alerts(),
            endpoints=None if found is None else found.survey,
            max_lag_seconds=self._settings.now.max_lag_seconds,
        )
        now = datetime.now(UTC)
        seen = {problem.part: self._first_seen.get(problem.part, now) for problem in problems}
        # While the database is lost, a problem found before counts as unsolved.
        self._first_seen = seen if database is None else self._first_seen | seen
        number_leased = self._supervisor.number_leased
        return HealthSnapshot(
            None if found is None else found.survey,
            () if found is None else found.endpoints,
            [replace(problem, seen_since=self._first_seen[problem.part]) for problem in problems],
            database_up=database is None,
            leased=self._supervisor.leased if number_leased <= OWN_SERIES_UP_TO else self._supervisor.active,
            number_leased=number_leased,
            listening=self._listener.listening,
        )

    def why_not_alive(self) -> str | None:
        """Return why the daemon counts as stuck though its event loop runs; ``None``: it is alive."""
        silent_seconds = asyncio.get_running_loop().time() - self._coordinator.tried_at
        longest = self._coordinator.look_every_seconds + self._coordinator.lease_seconds + _ALIVE_ALLOWANCE_SECONDS
        return None if silent_seconds <= longest else f"no heartbeat was tried for {silent_seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class _Found:
    """What the database says."""

    installation: Check
    capture: Check | None
    """Why endpoints are invalid, if capture is; what was looked at before may be older than they are."""
    survey: EndpointSurvey
    endpoints: Sequence[EndpointOverview]


async def _read(connection: AsyncConnection[TupleRow], max_lag_seconds: float) -> _Found:
    installation = await check_installation(connection)
    surveyed = await survey(connection, max_lag_seconds, FIRST_PAGE)
    all_of_them = surveyed.number <= OWN_SERIES_UP_TO
    endpoints = await endpoint_overviews(connection) if all_of_them else surveyed.in_trouble
    capture = await check_capture(connection) if EndpointStatus.INVALID in surveyed.by_status else None
    failed = capture if capture is not None and capture.verdict is Verdict.FAILED else None
    return _Found(installation, failed, surveyed, endpoints)
