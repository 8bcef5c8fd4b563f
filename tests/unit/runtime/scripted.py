"""A lease coordinator and its supervisor, with a scripted store and scripted pipelines in place of a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.lease_store import NewLease
from cdc_bridge.endpoints.options import OPTIONS, Endpoint
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId, History
from cdc_bridge.runtime.definitions import EndpointDefinitions
from cdc_bridge.runtime.endpoint_log import EndpointLog
from cdc_bridge.runtime.lease_coordinator import LeaseCoordinator
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.runtime.supervisor import Supervisor
from cdc_bridge.sessions import ServerIncarnation
from cdc_bridge.tasks import end

LEASE_SECONDS = 60.0
FINISH_WITHIN_SECONDS = 7.0

SERVER = ServerIncarnation(
    7, "00000001", datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC), 16384, 20000
)

TILL = Endpoint(name="till", url="https://till.example")


def listed(number: int = 1, name: str = "till", *, row: dict[str, Any] | None = None, **changes: Any) -> ListedEndpoint:
    """Return an endpoint as the database lists it, free unless said otherwise."""
    columns = {option.name: option.default for option in OPTIONS.values()} | {
        "name": name,
        "url": "https://till.example",
        "problem": None,
    }
    endpoint = ListedEndpoint(
        endpoint_id=EndpointId(number),
        name=name,
        in_settings=False,
        paused=False,
        disabled=False,
        resumed_at=None,
        same_cluster=True,
        free=True,
        fencing_token=0,
        lease_ends_in_seconds=None,
        row=columns | (row or {}),
    )
    return replace(endpoint, **changes)


class ScriptedPipeline:
    """Runs until it is stopped or ended by the test."""

    def __init__(self, endpoint: Endpoint, acquired: NewLease, state_changed: Callable[[], None]) -> None:
        self.endpoint = endpoint
        self.acquired = acquired
        self.state_changed = state_changed
        self.state = EndpointState()
        self.withdrawn = False
        self.stalled_since: float | None = None
        self.unread_since: float | None = None
        self.schedule_looks = 0
        self.probes = 0
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()
        """Set once it was told to stop."""
        self.requests_end = asyncio.Event()
        """Cleared by a test whose requests in flight are to take long."""
        self.requests_end.set()
        self.finished = False
        """Whether its requests in flight were finished."""
        self.open = True
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look_at_schedule(self) -> None:
        self.schedule_looks += 1

    def probe_now(self) -> None:
        self.probes += 1

    async def run(self, stopping: asyncio.Event, finish_within_seconds: float) -> None:
        assert finish_within_seconds == FINISH_WITHIN_SECONDS
        self.started.set()
        stop = asyncio.create_task(stopping.wait())
        try:
            ends: list[asyncio.Future[Any]] = [stop, self._end]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._end.done():
                self._end.result()
            self.stopped.set()
            await self.requests_end.wait()
            self.finished = True
        finally:
            await end([stop])

    def withdraw(self) -> None:
        """End as if the endpoint had responded with 410."""
        self.withdrawn = True
        self._end.set_result(None)

    def crash(self, error: Exception) -> None:
        self._end.set_exception(error)


@dataclass(frozen=True)
class Released:
    endpoint_id: EndpointId
    fencing_token: int
    problem: str | None
    disable: bool


class ScriptedStore:
    """Lists what the test says, renews and acquires all but what the test says, and notes what was asked."""

    def __init__(self) -> None:
        self.listed: list[ListedEndpoint] = []
        self.lost: set[EndpointId] = set()
        """Leases that are not renewed."""
        self.locked: set[EndpointId] = set()
        """Endpoints that cannot be acquired."""
        self.failure: Exception | None = None
        """Raised by every statement but a release."""
        self.during_renewal: Callable[[], None] = lambda: None
        self.renewals = 0
        self.renewed = asyncio.Event()
        """Set at each renewal."""
        self.server = SERVER
        """Which one the database is served by."""
        self.problems: list[tuple[str, str]] = []
        self.expired: list[set[EndpointId]] = []
        self.expired_sessions = 0
        self.releases: list[Released] = []
        self.released = asyncio.Event()
        """Set at each release."""
        self.may_release = asyncio.Event()
        self.may_release.set()
        self._fencing_token = 0

    async def renew_and_list(
        self, leases: Sequence[tuple[Lease, EndpointState]], *, listening: bool
    ) -> tuple[set[EndpointId], list[ListedEndpoint]]:
        assert listening
        self.renewals += 1
        self.renewed.set()
        self._fail()
        self.during_renewal()
        ours = {lease.endpoint_id for lease, _ in leases if self.is_from_here(lease)}
        return ours - self.lost, list(self.listed)

    def is_from_here(self, lease: Lease) -> bool:
        return lease.server == self.server

    async def acquire(self, endpoints: Collection[ListedEndpoint]) -> list[NewLease]:
        self._fail()
        return [self._lease(endpoint) for endpoint in endpoints if endpoint.endpoint_id not in self.locked]

    def _lease(self, endpoint: ListedEndpoint) -> NewLease:
        self._fencing_token += 1
        lease = Lease(endpoint.endpoint_id, self._fencing_token, self.server)
        return NewLease(lease, Position(Snapshot.parse("1:1:"), None), History(1), None)

    async def end_expired_sessions(self, endpoint_ids: Collection[EndpointId]) -> int:
        self._fail()
        self.expired.append(set(endpoint_ids))
        return self.expired_sessions

    async def record_problem(self, endpoint: ListedEndpoint, problem: str) -> None:
        self._fail()
        self.problems.append((endpoint.name, problem))

    async def release(self, lease: Lease, state: EndpointState, problem: str | None, *, disable: bool) -> None:
        assert isinstance(state, EndpointState)
        await self.may_release.wait()
        self.releases.append(Released(lease.endpoint_id, lease.fencing_token, problem, disable))
        self.released.set()

    async def wait_for_release(self, endpoint_id: int) -> Released:
        """Wait until an endpoint is released; return its newest release."""
        while not (found := [released for released in self.releases if released.endpoint_id == endpoint_id]):
            self.released.clear()
            await self.released.wait()
        return found[-1]

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class ScriptedAnnouncements:
    """Says that notifications arrive."""

    def __init__(self) -> None:
        self.announced = asyncio.Event()
        self.listening = True


class Daemon:
    """A lease coordinator and its supervisor."""

    def __init__(self, declared: Endpoint | None = None) -> None:
        self.now = 1000.0
        self.store = ScriptedStore()
        self.announcements = ScriptedAnnouncements()
        self.pipelines: dict[str, list[ScriptedPipeline]] = {}
        """Every pipeline that was ever opened, by the endpoint's name."""
        self.unreadable: set[str] = set()
        """Endpoints whose certificate files cannot be read."""
        endpoint_log = EndpointLog()
        self.supervisor = Supervisor(
            self._open_pipeline,
            self.store,
            endpoint_log,
            finish_within_seconds=FINISH_WITHIN_SECONDS,
            clock=lambda: self.now,
        )
        self.coordinator = LeaseCoordinator(
            self.store,
            self.supervisor,
            EndpointDefinitions(declared, allow_http=False),
            self.announcements,
            endpoint_log,
            lease_seconds=LEASE_SECONDS,
            clock=lambda: self.now,
            jitter=lambda: 0.0,
        )

    @asynccontextmanager
    async def _open_pipeline(
        self, endpoint: Endpoint, acquired: NewLease, state_changed: Callable[[], None]
    ) -> AsyncIterator[ScriptedPipeline]:
        if endpoint.name in self.unreadable:
            raise FileNotFoundError(2, "No such file or directory")
        pipeline = ScriptedPipeline(endpoint, acquired, state_changed)
        self.pipelines.setdefault(endpoint.name, []).append(pipeline)
        try:
            yield pipeline
        finally:
            pipeline.open = False

    async def lease(self, *endpoints: ListedEndpoint) -> list[ScriptedPipeline]:
        """Have the daemon lease endpoints; return their pipelines, which run."""
        self.store.listed = list(endpoints)
        for _ in endpoints:  # It acquires half of what is free at each look.
            await self.coordinator.look()
        pipelines = [self.pipeline(endpoint.name) for endpoint in endpoints]
        for pipeline in pipelines:
            await pipeline.started.wait()
        return pipelines

    def pipeline(self, name: str) -> ScriptedPipeline:
        """Return an endpoint's newest pipeline."""
        return self.pipelines[name][-1]

    def leased(self, name: str) -> LeasedEndpoint:
        (found,) = [leased for leased in self.supervisor.leased if leased.endpoint.name == name]
        return found

    @property
    def names(self) -> list[str]:
        """The names of the endpoints leased now."""
        return sorted(leased.endpoint.name for leased in self.supervisor.leased)
