"""A lease coordinator and its supervisor, with a scripted store and scripted pipelines in place of a database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cdc_bridge.capture.change_log import Page
from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.endpoints.lease_store import EndpointList, NewLease, Release, Renewal
from cdc_bridge.endpoints.options import OPTIONS, Endpoint
from cdc_bridge.endpoints.secrets_cipher import NO_KEYS
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.errors import StatementFailed
from cdc_bridge.model import EndpointId, History, Seq, Xid
from cdc_bridge.pipeline.queue import DeliveredMeanwhile
from cdc_bridge.pipeline.recorded_position import PageUnderWay
from cdc_bridge.runtime.definitions import EndpointDefinitions
from cdc_bridge.runtime.endpoint_log import EndpointLog
from cdc_bridge.runtime.lease_coordinator import LeaseCoordinator
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.runtime.supervisor import Supervisor
from cdc_bridge.sessions import ServerIncarnation
from cdc_bridge.transport.message import Message
from cdc_bridge.transport.outcome import Attempt

LEASE_SECONDS = 60.0
FINISH_WITHIN_SECONDS = 7.0

SERVER = ServerIncarnation(
    7, "00000001", datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC), 16384, 20000
)

TILL = Endpoint(name="till", url="https://till.example")


def listed(number: int = 1, name: str = "till", *, row: dict[str, Any] | None = None, **changes: Any) -> ListedEndpoint:
    """Return an endpoint as the database lists it."""
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
        row=columns | (row or {}),
    )
    return replace(endpoint, **changes)


class ScriptedPipeline:
    """Runs until it is stopped or ended by the test."""

    def __init__(self, leased: LeasedEndpoint, state_changed: Callable[[], None]) -> None:
        self.endpoint = leased.endpoint
        self.state_changed = state_changed
        self.state = EndpointState()
        self.withdrawn = False
        self.closed = False
        self.has_room = True
        self.is_empty = True
        self.position = Position(Snapshot(Xid(1), frozenset()))
        self.highest_retry = Seq(0)
        self.stalled_since: float | None = None
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
        """Whether it has not ended yet."""
        self.waits_for_shared = True
        """Whether the daemon's position waits for what is in flight."""
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def until_room(self) -> None:
        raise NotImplementedError

    @contextmanager
    def reading(self) -> Iterator[DeliveredMeanwhile]:
        yield DeliveredMeanwhile()

    def hand_over(
        self, page: Page, meanwhile: DeliveredMeanwhile, before: Position, shared: PageUnderWay | None
    ) -> None:
        raise NotImplementedError

    def caught_up(self) -> None:
        raise NotImplementedError

    def has_part_of(self, page: PageUnderWay) -> bool:
        raise NotImplementedError

    def stop_following(self) -> None:
        self.waits_for_shared = False

    def look_at_schedule(self) -> None:
        self.schedule_looks += 1

    def probe_now(self) -> None:
        self.probes += 1

    async def run(self, stopping: asyncio.Future[None], finish_within_seconds: float) -> None:
        assert finish_within_seconds == FINISH_WITHIN_SECONDS
        self.started.set()
        try:
            await asyncio.wait([stopping, self._end], return_when=asyncio.FIRST_COMPLETED)
            if self._end.done():
                self._end.result()
            self.stopped.set()
            await self.requests_end.wait()
            self.finished = True
        finally:
            self.open = False

    def rest(self) -> None:
        """End as there is nothing to deliver any more."""
        self.closed = True
        self._end.set_result(None)

    def withdraw(self) -> None:
        """End as if the endpoint had responded with 410."""
        self.withdrawn = True
        self._end.set_result(None)

    def crash(self, error: Exception) -> None:
        self._end.set_exception(error)


class ScriptedTransport:
    """Sends nothing."""

    async def send(self, message: Message) -> Attempt | None:
        raise NotImplementedError


class ScriptedDelivering:
    """Notes what it is told, and makes scripted pipelines."""

    def __init__(self, daemon: Daemon, registration: Registration, leased: Mapping[EndpointId, LeasedEndpoint]) -> None:
        self._daemon = daemon
        self.registration = registration
        self.leased = leased
        self.unread_since: float | None = None
        self.added: list[LeasedEndpoint] = []
        self.left: list[LeasedEndpoint] = []
        self.forgotten: list[LeasedEndpoint] = []
        self.problem_of_adding: Exception | None = None
        """Raised when endpoints are added."""
        self.schedule_looks = 0
        self.running = self.closed = self.dropped = False
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        self.running = True
        try:
            await self._end
        finally:
            self.running = False

    def crash(self, error: Exception) -> None:
        self._end.set_exception(error)

    async def add(self, endpoints: Collection[LeasedEndpoint]) -> None:
        await asyncio.sleep(0)
        if self.problem_of_adding is not None:
            raise self.problem_of_adding
        self.added += endpoints

    def leave(self, leased: LeasedEndpoint) -> None:
        assert leased.stopping
        assert leased not in self.left
        self.left.append(leased)

    def forget(self, leased: LeasedEndpoint) -> None:
        assert leased in self.left
        self.forgotten.append(leased)
        if leased.pipeline is not None:
            leased.pipeline.stop_following()

    def drop_all(self) -> None:
        assert not self.running
        self.dropped = True

    def look_at_schedule(self) -> None:
        self.schedule_looks += 1

    def open_transport(self, endpoint: Endpoint, lease: Lease) -> ScriptedTransport:
        assert lease.registration is self.registration
        if (error := self._daemon.unreadable.get(endpoint.name)) is not None:
            raise error
        return ScriptedTransport()

    def open_pipeline(self, leased: LeasedEndpoint, state_changed: Callable[[], None]) -> ScriptedPipeline:
        pipeline = ScriptedPipeline(leased, state_changed)
        self._daemon.pipelines.setdefault(leased.endpoint.name, []).append(pipeline)
        return pipeline

    async def close(self) -> None:
        assert not self.running
        self.closed = True


@dataclass(frozen=True)
class Released:
    endpoint_id: EndpointId
    fencing_token: int
    problem: str | None
    disable: bool


class ScriptedStore:
    """Lists what the test says, leases all but what the test says, and notes what was asked."""

    def __init__(self) -> None:
        self.listed: list[ListedEndpoint] = []
        self.registered = True
        """Whether this daemon has its registration."""
        self.elsewhere: set[EndpointId] = set()
        """Endpoints that other daemons have leased."""
        self.locked: set[EndpointId] = set()
        """Endpoints that cannot be acquired."""
        self.others = 0
        """Other daemons that are live."""
        self.next_end_in_seconds: float | None = None
        self.not_live: list[int] = []
        """Other daemons that are not live any more."""
        self.stuck_sessions = 0
        """Sessions of these that have to be ended."""
        self.ended: list[int] = []
        self.failure: Exception | None = None
        """Raised by every statement but a release."""
        self.answer_lost = False
        """Whether the response to an acquisition is lost once."""
        self.during_renewal: Callable[[], Awaitable[None]] | None = None
        self.renewals = 0
        self.renewed = asyncio.Event()
        """Set at each renewal or registration, also one that fails."""
        self.server = SERVER
        """Which one the database is served by."""
        self.lists = 0
        self.full_lists = 0
        self.problems: list[tuple[EndpointId, str]] = []
        self.reports: list[tuple[EndpointId, EndpointState]] = []
        self.freed: list[set[EndpointId]] = []
        """What was left leased, each time that the others were freed."""
        self.releases: list[Released] = []
        self.release_statements = 0
        self.released = asyncio.Event()
        """Set at each release."""
        self.may_release = asyncio.Event()
        self.may_release.set()
        self.rejected: set[EndpointId] = set()
        """Endpoints whose release fails."""
        self.release_failure: Exception | None = None
        self.unregistered: list[int] = []
        self.ours: dict[EndpointId, int] = {}
        """The leases of this daemon, as the database has them, with their fencing tokens."""
        self._daemons = 0
        self._fencing_token = 0
        self._versions: list[dict[EndpointId, tuple[ListedEndpoint, dict[str, Any]]]] = []

    async def register(self, *, listening: bool) -> Registration:
        assert listening
        self.renewed.set()
        self._fail()
        self._daemons += 1
        self.registered = True
        return Registration(self._daemons, self.server, History(1))

    async def renew(self, registration: Registration, *, listening: bool, listed_in: str | None) -> Renewal:
        assert listening
        self.renewals += 1
        self.renewed.set()
        if self.during_renewal is not None:
            await self.during_renewal()
        self._fail()
        replaced = registration.server != self.server
        if replaced or not self.registered:
            self.ours.clear()
        return Renewal(
            registered=self.registered and not replaced,
            replaced=replaced,
            ended=tuple(self.not_live),
            others=self.others,
            next_end_in_seconds=self.next_end_in_seconds,
            free=[one.endpoint_id for one in self.listed if self._is_free(one)],
            changed=listed_in is not None and self._versions[int(listed_in)] != self._version(),
        )

    def _is_free(self, endpoint: ListedEndpoint) -> bool:
        id_ = endpoint.endpoint_id
        return not (endpoint.paused or endpoint.disabled or id_ in self.elsewhere or id_ in self.ours)

    def _version(self) -> dict[EndpointId, tuple[ListedEndpoint, dict[str, Any]]]:
        return {one.endpoint_id: (one, dict(one.row)) for one in self.listed}

    async def list_changed(self, listed_in: str | None) -> EndpointList:
        self._fail()
        self.lists += 1
        self.full_lists += listed_in is None
        before = {} if listed_in is None else self._versions[int(listed_in)]
        self._versions.append(self._version())
        changed = [one for one in self.listed if before.get(one.endpoint_id) != (one, dict(one.row))]
        ids = frozenset(one.endpoint_id for one in self.listed)
        return EndpointList(str(len(self._versions) - 1), ids, changed)

    async def end(self, daemon_ids: Collection[int]) -> int:
        self._fail()
        self.ended += daemon_ids
        self.not_live, self.elsewhere = [], set()
        return self.stuck_sessions

    async def acquire(self, registration: Registration, endpoint_ids: Collection[EndpointId]) -> list[NewLease]:
        self._fail()
        assert registration.daemon_id == self._daemons
        by_id = {one.endpoint_id: one for one in self.listed}
        acquired = [
            self._lease(endpoint_id, registration)
            for endpoint_id in endpoint_ids
            if endpoint_id not in self.locked and self._is_free(by_id[endpoint_id])
        ]
        if self.answer_lost:
            self.answer_lost = False
            raise TimeoutError
        return acquired

    def _lease(self, endpoint_id: EndpointId, registration: Registration) -> NewLease:
        self._fencing_token += 1
        self.ours[endpoint_id] = self._fencing_token
        lease = Lease(endpoint_id, self._fencing_token, registration)
        return NewLease(lease, Position(Snapshot.parse("1:1:"), None), Seq(0), None)

    async def free_all_but(self, registration: Registration, endpoint_ids: Collection[EndpointId]) -> bool:
        self._fail()
        assert registration.daemon_id == self._daemons
        self.freed.append(set(endpoint_ids))
        self.ours = {id_: token for id_, token in self.ours.items() if id_ in {*endpoint_ids, *self.locked}}
        return self.ours.keys() <= set(endpoint_ids)

    async def record_problem(self, endpoint_id: EndpointId, problem: str) -> bool:
        self._fail()
        if endpoint_id in self.locked:
            return False
        self.problems.append((endpoint_id, problem))
        return True

    async def report(
        self, registration: Registration, states: Sequence[tuple[Lease, EndpointState]]
    ) -> Collection[EndpointId]:
        self._fail()
        assert all(lease.registration is registration for lease, _ in states)
        reported = [(lease.endpoint_id, state) for lease, state in states if lease.endpoint_id not in self.locked]
        self.reports += reported
        return [endpoint_id for endpoint_id, _ in reported]

    async def release(self, registration: Registration, releases: Sequence[Release]) -> Collection[EndpointId]:
        await self.may_release.wait()
        self.release_statements += 1
        if self.release_failure is not None:
            raise self.release_failure
        if any(release.lease.endpoint_id in self.rejected for release in releases):
            raise StatementFailed("a statement failed: a value cannot be used where it stands")
        left = []
        for release in releases:
            lease = release.lease
            assert lease.registration is registration
            if lease.endpoint_id in self.locked:
                left.append(lease.endpoint_id)
                continue
            if self.ours.get(lease.endpoint_id) == lease.fencing_token:
                del self.ours[lease.endpoint_id]
            self.releases.append(Released(lease.endpoint_id, lease.fencing_token, release.problem, release.disable))
        self.released.set()
        return left

    async def unregister(self, registration: Registration) -> None:
        self.unregistered.append(registration.daemon_id)
        self.ours.clear()

    async def wait_for_release(self, endpoint_id: int) -> Released:
        """Wait until an endpoint is released; return its newest release."""
        while not (found := [released for released in self.releases if released.endpoint_id == endpoint_id]):
            self.released.clear()
            await self.released.wait()
        await asyncio.sleep(0)  # Who released it learns of that.
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
        self.delivering: list[ScriptedDelivering] = []
        """What the endpoints shared under each registration."""
        self.pipelines: dict[str, list[ScriptedPipeline]] = {}
        """Every pipeline that was ever opened, by the endpoint's name."""
        self.unreadable: dict[str, OSError] = {}
        """Why its certificates cannot be used, by the endpoint's name."""
        endpoint_log = EndpointLog()
        self.supervisor = Supervisor(
            self._deliver,
            self.store,
            endpoint_log,
            finish_within_seconds=FINISH_WITHIN_SECONDS,
            clock=lambda: self.now,
        )
        self.coordinator = LeaseCoordinator(
            self.store,
            self.supervisor,
            EndpointDefinitions(declared, allow_http=False, cipher=NO_KEYS),
            self.announcements,
            endpoint_log,
            lease_seconds=LEASE_SECONDS,
            clock=lambda: self.now,
            jitter=lambda: 0.0,
        )

    def _deliver(self, registration: Registration, leased: Mapping[EndpointId, LeasedEndpoint]) -> ScriptedDelivering:
        self.delivering.append(ScriptedDelivering(self, registration, leased))
        return self.delivering[-1]

    async def lease(self, *endpoints: ListedEndpoint) -> list[ScriptedPipeline]:
        """Have the daemon lease endpoints, and each have something to deliver; return their pipelines, which run."""
        self.store.listed = list(endpoints)
        await self.coordinator.look()
        return [await self.activate(endpoint.name) for endpoint in endpoints]

    async def activate(self, name: str) -> ScriptedPipeline:
        """Have an endpoint have something to deliver; return its pipeline, which runs."""
        pipeline = self.leased(name).activate()
        assert isinstance(pipeline, ScriptedPipeline)
        await pipeline.started.wait()
        return pipeline

    def leased(self, name: str) -> LeasedEndpoint:
        (found,) = [leased for leased in self.supervisor.leased if leased.endpoint.name == name]
        return found

    @property
    def names(self) -> list[str]:
        """The names of the endpoints leased now."""
        return sorted(leased.endpoint.name for leased in self.supervisor.leased)
