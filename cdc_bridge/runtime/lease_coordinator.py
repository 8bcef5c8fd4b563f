"""Decides which endpoints this daemon leases; PostgreSQL is all that daemons share.

It looks at the endpoints at intervals, and at once when a change is announced. Each look renews the leases, lists the
endpoints, stops the pipelines of those that are paused, disabled, removed or have a new definition, and acquires free
ones (:mod:`~cdc_bridge.runtime.assignment`).
"""

from __future__ import annotations

import asyncio
import random
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog

from cdc_bridge.database import DATABASE_ERRORS, RECONNECT, is_unavailable, problem_of, statement_failed
from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.lease_store import NewLease
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.errors import shortened
from cdc_bridge.metrics import forget_endpoint
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime.assignment import plan
from cdc_bridge.runtime.definitions import EndpointDefinitions
from cdc_bridge.runtime.endpoint_log import EndpointLog
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.runtime.supervisor import Supervisor
from cdc_bridge.tasks import end

_RENEWALS_PER_LEASE = 2.4
_LOOK_AT_MOST_EVERY_SECONDS = 0.3

_log = structlog.get_logger(__name__)


class LeaseStore(Protocol):
    """Where leases are kept: :class:`~cdc_bridge.endpoints.lease_store.DatabaseLeaseStore`."""

    async def renew_and_list(
        self, leases: Sequence[tuple[Lease, EndpointState]], *, listening: bool
    ) -> tuple[set[EndpointId], list[ListedEndpoint]]:
        """Renew leases; return the endpoints whose lease is still ours, and all endpoints."""

    def is_from_here(self, lease: Lease) -> bool:
        """Return whether a lease was acquired on the server that the last operation ran on."""

    async def acquire(self, endpoints: Collection[ListedEndpoint]) -> list[NewLease]:
        """Lease those of some endpoints that no other daemon has leased since they were listed."""

    async def end_expired_sessions(self, endpoint_ids: Collection[EndpointId]) -> int:
        """End the sessions of other daemons that let their leases of these endpoints expire; return how many."""

    async def record_problem(self, endpoint: ListedEndpoint, problem: str) -> None:
        """Record why an endpoint is invalid."""


class Announcements(Protocol):
    """Announces changes of endpoints and of the retry schedule."""

    announced: asyncio.Event
    """Set when somebody announced a change."""

    @property
    def listening(self) -> bool:
        """Whether this daemon gets notifications."""


class LeaseCoordinator:
    """Renews, acquires and gives up leases, and has the supervisor run the pipelines."""

    def __init__(
        self,
        store: LeaseStore,
        supervisor: Supervisor,
        definitions: EndpointDefinitions,
        announcements: Announcements,
        endpoint_log: EndpointLog,
        *,
        lease_seconds: float,
        clock: Callable[[], float] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare to lease endpoints; must run inside the event loop.

        Args:
            store: Where leases are kept.
            supervisor: Runs the pipelines of leased endpoints.
            definitions: Defines how to deliver to each endpoint.
            announcements: Say when to look at once.
            endpoint_log: Logs what becomes of each endpoint.
            lease_seconds: How long a lease lasts without renewal.
            clock: Time in seconds; default: the event loop's.
            jitter: Random number in [0, 1), for the pauses while the database is away.
        """
        self._store = store
        self._supervisor = supervisor
        self._definitions = definitions
        self._announcements = announcements
        self._endpoint_log = endpoint_log
        self.lease_seconds = lease_seconds
        """How long a lease lasts without renewal."""
        self.look_every_seconds = lease_seconds / _RENEWALS_PER_LEASE
        """Maximum time between two looks at the endpoints."""
        self._clock = clock or asyncio.get_running_loop().time
        self._jitter = jitter
        self._failures = 0
        self._loss_logged = False
        self._next_look_in_seconds = 0.0
        self._announced = False
        self._given_up = False
        self._names: set[str] = set()
        self._resumed_at: dict[EndpointId, str | None] = {}
        self.looked_at = self.tried_at = self._clock()
        """When it last looked at the endpoints, and when it last tried to."""

    @property
    def database_lost(self) -> bool:
        """Whether the last look failed because the database is away."""
        return self._failures > 0

    def reload(self, declared: Endpoint | None, *, allow_http: bool) -> None:
        """Apply the endpoint of changed settings, and read every certificate and key anew.

        Args:
            declared: The endpoint that the settings declare, if they do.
            allow_http: Whether ``http://`` to this machine is allowed.
        """
        self._definitions.reload(declared, allow_http=allow_http)
        self._supervisor.stop_with_changed_certificates()  # The next look starts them again.
        self._supervisor.changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Lease endpoints until stopped; then have their pipelines finish and release their leases.

        Raises:
            InstallationError: The SQL side is no longer what this version needs.
        """
        stop = asyncio.create_task(stopping.wait())
        # At once, also while a look waits for the database.
        stop.add_done_callback(lambda _: self._supervisor.stop_all())
        tasks: list[asyncio.Task[Any]] = [stop]
        try:
            while not stop.done() and not self._supervisor.failed.done():
                await self.look()
                await self._wait_for_next_look(stop)
            self._supervisor.stop_all()
            tasks.append(asyncio.create_task(self._keep_renewing()))
            await self._supervisor.ended()
            self._endpoint_log.report_losses()
        finally:
            await end(tasks)
            await self._supervisor.close()
        if self._supervisor.failed.done():
            self._supervisor.failed.result()

    async def look(self) -> None:
        """Look at the endpoints once, and follow what is decided.

        Raises:
            InstallationError: A statement failed for a reason that waiting does not solve.
        """
        if self._given_up:
            return
        self._announced = self._announced or self._announcements.announced.is_set()
        self._announcements.announced.clear()
        self._supervisor.changed.clear()
        self._next_look_in_seconds = self.look_every_seconds
        try:
            await self._follow_plan(await self._renew_and_list())
        except DATABASE_ERRORS as error:
            if not is_unavailable(error):
                raise statement_failed(error) from error
            self._on_database_lost(error)
            return
        finally:
            self.tried_at = self._clock()
        self._on_looked()

    async def give_up(self, leased: LeasedEndpoint, problem: str) -> None:
        """Release one endpoint that is stuck here, and record why, if that is possible.

        The daemon ends after this: it acquires and renews nothing more.

        Args:
            leased: The endpoint.
            problem: Why it is given up.
        """
        self._given_up = True
        await self._supervisor.release(leased, problem)

    def _on_database_lost(self, error: BaseException) -> None:
        """Plan the next try. Leases expire meanwhile, and no request is sent without one."""
        self._failures += 1
        # Pipelines meet the same error, and the database's own retries log it.
        if not self._supervisor.leased and not self._loss_logged:
            self._loss_logged = True
            _log.warning("database lost", problem=problem_of(error))
        self._next_look_in_seconds = RECONNECT.pause_seconds(self._failures, self._jitter())

    def _on_looked(self) -> None:
        self._failures = 0
        if self._loss_logged:
            self._loss_logged = False
            _log.info("database back")
        self.looked_at = self.tried_at
        if self._announced:
            self._announced = False
            for leased in self._supervisor.leased:
                leased.pipeline.look_at_schedule()

    async def _wait_for_next_look(self, stop: asyncio.Task[Any]) -> None:
        earliest = self._clock() + min(_LOOK_AT_MOST_EVERY_SECONDS, self._next_look_in_seconds)
        ends: list[asyncio.Future[Any]] = [stop, self._supervisor.failed]
        wakes = [
            asyncio.create_task(event.wait()) for event in (self._announcements.announced, self._supervisor.changed)
        ]
        try:
            await asyncio.wait([*ends, *wakes], timeout=self._next_look_in_seconds, return_when=FIRST_COMPLETED)
        finally:
            await end(wakes)
        await asyncio.wait(ends, timeout=max(0.0, earliest - self._clock()), return_when=FIRST_COMPLETED)

    async def _keep_renewing(self) -> None:
        """Renew while pipelines finish, which may take as long as a request may."""
        while True:
            with suppress(*DATABASE_ERRORS):
                await self._renew_and_list()
            self.looked_at = self.tried_at = self._clock()
            await asyncio.sleep(self.look_every_seconds)

    async def _renew_and_list(self) -> list[ListedEndpoint]:
        asked_at = Lease.now()
        ours = self._supervisor.leased
        renewed, listed = await self._store.renew_and_list(
            [(leased.lease, leased.pipeline.state) for leased in ours], listening=self._announcements.listening
        )
        for leased in ours:
            if leased.lease.endpoint_id in renewed:
                leased.lease.renew(asked_at, self.lease_seconds)
            elif self._store.is_from_here(leased.lease):
                await self._supervisor.lose(leased)
            else:
                leased.stopping.set()  # Its pipeline notices as well, as soon as it reads or records.
        return listed

    async def _follow_plan(self, listed: Sequence[ListedEndpoint]) -> None:
        leased = {one.lease.endpoint_id: one.endpoint for one in self._supervisor.leased}
        planned = plan(listed, leased, self._definitions.of, self._supervisor.pauses)
        self._endpoint_log.listed(listed)
        self._forget_removed(listed)
        self._probe_resumed(listed)
        for endpoint_id in planned.stop:
            self._supervisor.stop(endpoint_id)
        for endpoint, problem in planned.problems:
            await self._report_problem(endpoint, problem)
        if planned.acquire:
            await self._acquire(planned.acquire)
        if (seconds := planned.look_again_in_seconds) is not None:
            self._next_look_in_seconds = min(self._next_look_in_seconds, max(_LOOK_AT_MOST_EVERY_SECONDS, seconds))

    def _forget_removed(self, listed: Sequence[ListedEndpoint]) -> None:
        names = {endpoint.name for endpoint in listed}
        for name in self._names - names:
            forget_endpoint(name)
        self._names = names
        self._definitions.forget_all_but({endpoint.endpoint_id for endpoint in listed})

    def _probe_resumed(self, listed: Sequence[ListedEndpoint]) -> None:
        """Have those endpoints probed that somebody resumed since the last list; most are leased only then."""
        before, self._resumed_at = self._resumed_at, {each.endpoint_id: each.resumed_at for each in listed}
        for leased in self._supervisor.leased:
            endpoint_id = leased.lease.endpoint_id
            if before.get(endpoint_id, ...) != self._resumed_at.get(endpoint_id, ...):
                leased.pipeline.probe_now()

    async def _report_problem(self, endpoint: ListedEndpoint, problem: str) -> None:
        problem = shortened(problem)
        self._endpoint_log.invalid(endpoint.endpoint_id, endpoint.name, problem)
        if endpoint.row["problem"] != problem:
            await self._store.record_problem(endpoint, problem)

    async def _acquire(self, wanted: Sequence[tuple[ListedEndpoint, Endpoint]]) -> None:
        definitions = {listed.endpoint_id: endpoint for listed, endpoint in wanted}
        asked_at = Lease.now()
        for acquired in await self._store.acquire([listed for listed, _ in wanted]):
            endpoint_id = acquired.lease.endpoint_id
            acquired.lease.renew(asked_at, self.lease_seconds)
            if not await self._supervisor.start(definitions.pop(endpoint_id), acquired):
                self._definitions.forget(endpoint_id)
        if definitions:
            # Another daemon was faster, or a frozen one locks the row in mid-recording.
            if ended := await self._store.end_expired_sessions(definitions.keys()):
                _log.warning("sessions of an expired lease ended", sessions=ended)
            self._next_look_in_seconds = _LOOK_AT_MOST_EVERY_SECONDS
