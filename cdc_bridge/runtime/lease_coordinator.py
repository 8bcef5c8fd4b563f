"""Decides which endpoints this daemon leases; PostgreSQL is all that daemons share.

It looks at intervals, and at once when a change is announced. Each look renews this daemon's registration, and with it
all of its leases; reads the endpoints that somebody has changed; stops to deliver to those that are paused, disabled,
removed or have a new definition; ends the leases of daemons that are not live any more; and acquires free endpoints
(:mod:`~cdc_bridge.runtime.assignment`). What it costs does not depend on the number of endpoints, as long as nobody
changes them. Of many that are free, a part is acquired by each look.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog

from cdc_bridge.database import DATABASE_ERRORS, RECONNECT, is_unavailable, problem_of, statement_failed
from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.endpoints.lease_store import EndpointList, NewLease, Renewal
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.secrets_cipher import SecretsCipher
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.errors import InstallationError, shortened
from cdc_bridge.metrics import SERIES
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime.assignment import Plan, plan
from cdc_bridge.runtime.definitions import EndpointDefinitions
from cdc_bridge.runtime.endpoint_log import EndpointLog
from cdc_bridge.runtime.lease_releases import RELEASE_WITHIN_SECONDS
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.runtime.supervisor import Supervisor
from cdc_bridge.tasks import end

_RENEWALS_PER_LEASE = 2.4
_LOOK_AT_MOST_EVERY_SECONDS = 0.3
_LIST_ALL_EVERY_SECONDS = 600.0
"""How often all endpoints are read, in case a change was not noted: a trigger notes it, and may be disabled."""

_log = structlog.get_logger(__name__)


class LeaseStore(Protocol):
    """Where leases are kept: :class:`~cdc_bridge.endpoints.lease_store.DatabaseLeaseStore`."""

    async def register(self, *, listening: bool) -> Registration:
        """Register this daemon anew."""

    async def renew(self, registration: Registration, *, listening: bool, listed_in: str | None) -> Renewal:
        """Renew this daemon's registration, and with it all of its leases."""

    async def list_changed(self, listed_in: str | None) -> EndpointList:
        """Return the endpoints that somebody has changed since a snapshot; ``None``: all."""

    async def end(self, daemon_ids: Collection[int]) -> int:
        """End the leases of daemons that are not live any more; return how many stuck sessions were ended."""

    async def acquire(self, registration: Registration, endpoint_ids: Collection[EndpointId]) -> list[NewLease]:
        """Lease those of some endpoints that are free."""

    async def free_all_but(self, registration: Registration, endpoint_ids: Collection[EndpointId]) -> bool:
        """Release the endpoints that this daemon does not know to have leased; return whether that was all of them."""

    async def record_problem(self, endpoint_id: EndpointId, problem: str) -> bool:
        """Record why an endpoint is invalid, if nobody has leased it; return whether that was so."""

    async def report(
        self, registration: Registration, states: Sequence[tuple[Lease, EndpointState]]
    ) -> Collection[EndpointId]:
        """Report the states of endpoints; return of which: not of those whose rows somebody has locked."""

    async def unregister(self, registration: Registration) -> None:
        """Release all leases, and end the registration."""


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
        self._registration: Registration | None = None
        self._listed: dict[EndpointId, ListedEndpoint] = {}
        self._has_listed = asyncio.Event()
        self._has_looked = asyncio.Event()
        """Not set while the database is away."""
        self._listed_in: str | None = None
        self._list_all_at = 0.0
        self._ended: Sequence[int] = ()
        """The daemons that were not live any more; one whose endpoint somebody has locked is there until it is free."""
        self._free: frozenset[EndpointId] = frozenset()
        self._tried: set[EndpointId] = set()
        """Those that were to be acquired by parts of a plan that is not whole yet."""
        self._problems: dict[EndpointId, str] = {}
        """What was recorded of endpoints that nobody can lease."""
        self._invalid: Sequence[tuple[ListedEndpoint, str]] = ()
        """Endpoints with an invalid definition, and why; the files that some of them name may change."""
        self._to_plan = True
        """Whether something has changed since the last plan."""
        self._uncertain = False
        """Whether endpoints may have been leased of which this daemon does not know."""
        self._resumed_at: dict[EndpointId, str | None] = {}
        self.looked_at = self.tried_at = self._clock()
        """When it last looked at the endpoints, and when it last tried to."""

    @property
    def listed(self) -> Mapping[EndpointId, ListedEndpoint]:
        """All endpoints: another mapping, and another row of an endpoint, if something has changed."""
        return self._listed

    async def until_listed(self) -> None:
        """Wait until the endpoints were read once."""
        await self._has_listed.wait()

    @property
    def database_lost(self) -> bool:
        """Whether the last look failed because the database is away."""
        return self._failures > 0

    async def look_again(self) -> None:
        """Try at once whether the database is back, and wait until a look has succeeded."""
        self._supervisor.changed.set()
        await self._has_looked.wait()

    def reload(self, declared: Endpoint | None, *, allow_http: bool, cipher: SecretsCipher) -> None:
        """Apply the endpoint of changed settings, and read every certificate and key anew.

        Args:
            declared: The endpoint that the settings declare, if they do.
            allow_http: Whether ``http://`` to this machine is allowed.
            cipher: Decrypts the secrets of the others.
        """
        self._definitions.reload(declared, allow_http=allow_http, cipher=cipher)
        self._listed_in = None
        self._supervisor.stop_with_changed_certificates()  # The next look starts them again.
        self._supervisor.changed.set()

    def plan_anew(self) -> None:
        """Look soon, and plan anew: endpoints that could not be delivered to can be, or the other way round."""
        self._to_plan = True
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
            await self._unregister()
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
            await self._look()
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
        self._has_looked.clear()
        # Pipelines meet the same error, and the database's own retries log it.
        if not self._supervisor.number_leased and not self._loss_logged:
            self._loss_logged = True
            _log.warning("database lost", problem=problem_of(error))
        self._next_look_in_seconds = RECONNECT.pause_seconds(self._failures, self._jitter())

    def _on_looked(self) -> None:
        self._failures = 0
        self._has_looked.set()
        if self._loss_logged:
            self._loss_logged = False
            _log.info("database back")
        self.looked_at = self.tried_at
        if self._announced:
            self._announced = False
            self._supervisor.look_at_schedule()

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
                await self._renew()
                await self._report()
            self.looked_at = self.tried_at = self._clock()
            await asyncio.sleep(self.look_every_seconds)

    async def _unregister(self) -> None:
        if self._registration is not None:
            with suppress(TimeoutError, InstallationError):
                async with asyncio.timeout(RELEASE_WITHIN_SECONDS):
                    await self._store.unregister(self._registration)

    async def _look(self) -> None:
        renewal = await self._renew()
        if renewal is None:
            self._registration = await self._register()
            renewal = await self._renew()
        registration = self._registration
        if registration is None or renewal is None:
            self._next_look_in_seconds = _LOOK_AT_MOST_EVERY_SECONDS
            return
        if renewal.ended and (await self._end(renewal.ended) or renewal.ended != self._ended):
            self._next_look_in_seconds = 0.0
        self._ended = renewal.ended
        await self._list(renewal)
        await self._report()
        await self._follow_plan(registration, renewal)

    async def _renew(self) -> Renewal | None:
        """Renew the registration; ``None``: there is none any more, and nothing is leased."""
        registration = self._registration
        if registration is None:
            return None
        asked_at = Registration.now()
        renewal = await self._store.renew(
            registration, listening=self._announcements.listening, listed_in=self._listed_in
        )
        if renewal.registered:
            registration.renew(asked_at, self.lease_seconds)
            return renewal
        self._registration = None
        await self._supervisor.lose(finish=renewal.replaced)
        return None

    async def _register(self) -> Registration:
        asked_at = Registration.now()
        registration = await self._store.register(listening=self._announcements.listening)
        registration.renew(asked_at, self.lease_seconds)
        self._listed_in, self._uncertain = None, False
        self._tried.clear()
        self._supervisor.begin(registration)
        return registration

    async def _end(self, daemon_ids: Sequence[int]) -> bool:
        """End the leases of daemons; return whether stuck sessions had to be ended for that."""
        if ended := await self._store.end(daemon_ids):
            _log.warning("sessions of an expired lease ended", sessions=ended)
        return ended > 0

    async def _list(self, renewal: Renewal) -> None:
        """Read what somebody has changed."""
        if self._clock() >= self._list_all_at:
            self._listed_in = None
        if not (renewal.changed or self._announced or self._listed_in is None):
            return
        if self._listed_in is None:
            self._list_all_at = self._clock() + _LIST_ALL_EVERY_SECONDS
            before: Mapping[EndpointId, ListedEndpoint] = {}
        else:
            before = self._listed
        found = await self._store.list_changed(self._listed_in)
        await self._supervisor.drop(set(self._supervisor.definitions) - found.endpoint_ids)
        removed = [listed for endpoint_id, listed in self._listed.items() if endpoint_id not in found.endpoint_ids]
        for endpoint in removed:
            SERIES.forget(endpoint.name)
            self._definitions.forget(endpoint.endpoint_id)
            self._problems.pop(endpoint.endpoint_id, None)
            self._resumed_at.pop(endpoint.endpoint_id, None)
        for endpoint in found.changed:
            self._definitions.forget(endpoint.endpoint_id)
        kept = {endpoint_id: one for endpoint_id, one in before.items() if endpoint_id in found.endpoint_ids}
        self._listed = kept | {endpoint.endpoint_id: endpoint for endpoint in found.changed}
        self._listed_in = found.listed_in
        self._has_listed.set()
        SERIES.number_of_endpoints = len(self._listed)
        self._to_plan = self._to_plan or bool(removed or found.changed)
        self._endpoint_log.listed(found.changed, found.endpoint_ids)
        self._probe_resumed(found.changed)

    async def _report(self) -> None:
        unreported = self._supervisor.unreported()
        if unreported and self._registration is not None:
            states = [(leased.lease, state) for leased, state in unreported]
            reported = await self._store.report(self._registration, states)
            for leased, state in unreported:
                if leased.endpoint_id in reported:
                    leased.reported = state

    async def _follow_plan(self, registration: Registration, renewal: Renewal) -> None:
        if self._uncertain:
            known = [*self._supervisor.definitions, *self._supervisor.pauses]
            self._uncertain = not await self._store.free_all_but(registration, known)
            self._next_look_in_seconds = 0.0
        # Not those that still finish requests under the registration on a server before.
        free = frozenset(endpoint_id for endpoint_id in renewal.free if not self._supervisor.leases(endpoint_id))
        if renewal.next_end_in_seconds is not None:
            self._look_again_in(renewal.next_end_in_seconds)
        for endpoint_id in self._supervisor.unusable:
            self._definitions.forget(endpoint_id)  # Its files are checked anew.
            self._to_plan = True
        self._supervisor.unusable.clear()
        if any(self._definition_problem(endpoint) != problem for endpoint, problem in self._invalid):
            self._to_plan = True
        if not (self._to_plan or free != self._free):
            return
        self._to_plan, self._free = False, free
        planned = plan(
            self._listed.values(),
            free - self._tried,
            self._supervisor.definitions,
            self._definitions.of,
            self._supervisor.pauses,
            alone=renewal.others == 0,
        )
        for endpoint_id in planned.stop:
            self._supervisor.stop(endpoint_id)
        self._invalid = [(endpoint, why) for endpoint, why in planned.problems if endpoint.same_cluster]
        for endpoint, problem in planned.problems:
            await self._report_problem(endpoint, problem)
        if planned.acquire:
            await self._acquire(registration, planned.acquire)
        self._plan_again(planned)

    def _plan_again(self, planned: Plan) -> None:
        """Decide when to plan the next time, after a plan was followed."""
        if (seconds := planned.look_again_in_seconds) is not None:
            self._to_plan = True
            self._look_again_in(seconds)
        if planned.is_whole:
            if self._tried & self._free:
                self._to_plan = True
                self._look_again_in(0.0)
            self._tried.clear()
        else:  # The others are acquired once the registration is renewed, also if somebody has locked these.
            self._tried.update(endpoint.endpoint_id for endpoint, _ in planned.acquire)
            self._to_plan, self._next_look_in_seconds = True, 0.0

    def _definition_problem(self, endpoint: ListedEndpoint) -> str | None:
        try:
            self._definitions.of(endpoint)
        except ValueError as error:
            return str(error)
        return None

    def _look_again_in(self, seconds: float) -> None:
        self._next_look_in_seconds = min(self._next_look_in_seconds, max(_LOOK_AT_MOST_EVERY_SECONDS, seconds))

    def _probe_resumed(self, changed: Sequence[ListedEndpoint]) -> None:
        """Have those endpoints probed that somebody resumed; most are leased only then."""
        for endpoint in changed:
            before = self._resumed_at.get(endpoint.endpoint_id)
            if endpoint.resumed_at is not None and endpoint.resumed_at != before:
                self._resumed_at[endpoint.endpoint_id] = endpoint.resumed_at
                self._supervisor.probe(endpoint.endpoint_id)

    async def _report_problem(self, endpoint: ListedEndpoint, problem: str) -> None:
        problem = shortened(problem)
        self._endpoint_log.invalid(endpoint.endpoint_id, endpoint.name, problem)
        if self._problems.get(endpoint.endpoint_id, endpoint.row["problem"]) != problem and (
            await self._store.record_problem(endpoint.endpoint_id, problem)
        ):
            self._problems[endpoint.endpoint_id] = problem

    async def _acquire(self, registration: Registration, wanted: Sequence[tuple[ListedEndpoint, Endpoint]]) -> None:
        definitions = {listed.endpoint_id: endpoint for listed, endpoint in wanted}
        before, self._uncertain = self._uncertain, True  # Until it is known which are leased.
        acquired = await self._store.acquire(registration, definitions.keys())
        self._uncertain = before
        await self._supervisor.start((definitions[one.lease.endpoint_id], one) for one in acquired)
        self._free -= {one.lease.endpoint_id for one in acquired}
        for one in acquired:
            self._problems.pop(one.lease.endpoint_id, None)
        if len(acquired) < len(definitions):  # Another daemon was faster, or somebody locks a row.
            self._to_plan = True
            self._look_again_in(0.0)
