"""Runs what delivers to the endpoints that this daemon leases, as long as its registration lasts.

A pipeline that crashes does not touch the others: its lease is released, and the endpoint may be leased again after a
pause. An error that every pipeline would meet, such as a missing table, ends the daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import structlog

from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.endpoints.lease_store import NewLease, Release
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import InstallationError, LeaseLost, PayloadInvalid, ServerReplaced
from cdc_bridge.model import EndpointId
from cdc_bridge.pipeline.dispatcher import Transport
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.runtime.endpoint_log import EndpointLog
from cdc_bridge.runtime.lease_releases import RELEASE_WITHIN_SECONDS, LeaseReleases, ReleaseStore
from cdc_bridge.runtime.leased_endpoint import EndpointPipeline, LeasedEndpoint
from cdc_bridge.tasks import end
from cdc_bridge.transport.exhaustion import exhausted_resource
from cdc_bridge.transport.tls import certificates_of

RESTART_AFTER_SECONDS = 5.0
_RELEASE_PAUSE_SECONDS = 0.3

_log = structlog.get_logger(__name__)


class Delivering(Protocol):
    """What all endpoints share under one registration: :class:`~cdc_bridge.runtime.delivering.SharedDelivering`."""

    async def run(self) -> None:
        """Read the change log and hand it over, until cancelled."""

    async def add(self, endpoints: Collection[LeasedEndpoint]) -> None:
        """Begin to hand over to endpoints."""

    def leave(self, leased: LeasedEndpoint) -> None:
        """Hand over nothing more to an endpoint."""

    def forget(self, leased: LeasedEndpoint) -> None:
        """Forget an endpoint whose lease is released or lost."""

    def drop_all(self) -> None:
        """Let go of all endpoints, once nothing is handed over any more."""

    def look_at_schedule(self) -> None:
        """Read the retry schedules anew: somebody may have changed the delivery log."""

    def open_transport(self, endpoint: Endpoint, lease: Lease) -> Transport:
        """Prepare to send requests to an endpoint. Raises ``OSError`` if a certificate file cannot be read."""

    def open_pipeline(self, leased: LeasedEndpoint, state_changed: Callable[[], None]) -> EndpointPipeline:
        """Make an endpoint's pipeline."""

    @property
    def unread_since(self) -> float | None:
        """Time of the last read of the log, by the event loop's clock; ``None``: reading is paused."""

    async def close(self) -> None:
        """Give up what is not written."""


class Supervisor:
    """Leases begin and end here: it runs the pipelines, and releases the leases of those that have ended."""

    def __init__(
        self,
        deliver: Callable[[Registration, Mapping[EndpointId, LeasedEndpoint]], Delivering],
        store: ReleaseStore,
        endpoint_log: EndpointLog,
        *,
        finish_within_seconds: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Prepare to run pipelines; must run inside the event loop.

        Args:
            deliver: Makes what the endpoints share under a registration.
            store: Where leases are released.
            endpoint_log: Logs what becomes of each endpoint.
            finish_within_seconds: Time limit for a stopped pipeline to finish its requests in flight.
            clock: Time in seconds; default: the event loop's.
        """
        self._deliver_under = deliver
        self._store = store
        self._endpoint_log = endpoint_log
        self._finish_within_seconds = finish_within_seconds
        self._clock = clock or asyncio.get_running_loop().time
        self._registration: Registration | None = None
        self._delivering: Delivering | None = None
        self._shared_work: asyncio.Task[None] | None = None
        self._leased: dict[EndpointId, LeasedEndpoint] = {}
        self._active: dict[EndpointId, LeasedEndpoint] = {}
        """Those that have a pipeline, or whose state has to be reported."""
        self._running: dict[LeasedEndpoint, dict[asyncio.Task[None], asyncio.Future[None]]] = {}
        """The tasks of their pipelines, and what stops each."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self.unusable: set[EndpointId] = set()
        """Those of which a certificate file could not be read, until somebody takes note of it."""
        self._releases = LeaseReleases(store, self._spawn, lambda registration: registration is self._registration)
        self._restart_at: dict[EndpointId, float] = {}
        self.changed = asyncio.Event()
        """Set when a lease has ended or an endpoint's state has changed."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails when an error was met that ends the daemon."""

    @property
    def leased(self) -> Sequence[LeasedEndpoint]:
        """The endpoints that this daemon leases."""
        return list(self._leased.values())

    @property
    def number_leased(self) -> int:
        """How many endpoints this daemon leases."""
        return len(self._leased)

    def leases(self, endpoint_id: EndpointId) -> bool:
        """Return whether this daemon leases an endpoint."""
        return endpoint_id in self._leased

    @property
    def definitions(self) -> Mapping[EndpointId, Endpoint]:
        """The definitions by which the leased endpoints are delivered to."""
        return {endpoint_id: leased.endpoint for endpoint_id, leased in self._leased.items()}

    @property
    def active(self) -> Collection[LeasedEndpoint]:
        """The endpoints that have a pipeline, or had one lately."""
        return list(self._active.values())

    @property
    def unread_since(self) -> float | None:
        """Time of the last read of the change log, by the event loop's clock; ``None``: nobody reads it."""
        return None if self._delivering is None else self._delivering.unread_since

    @property
    def pauses(self) -> Mapping[EndpointId, float]:
        """Seconds for which endpoints are not to be leased again."""
        now = self._clock()
        self._restart_at = {endpoint_id: until for endpoint_id, until in self._restart_at.items() if until > now}
        pauses = {endpoint_id: until - now for endpoint_id, until in self._restart_at.items()}
        return pauses | dict.fromkeys(self._releases.endpoint_ids, _RELEASE_PAUSE_SECONDS)

    def begin(self, registration: Registration) -> None:
        """Begin to deliver under a registration; nothing is leased under an earlier one any more."""
        self._registration = registration
        self._delivering = self._deliver_under(registration, self._leased)
        self._shared_work = asyncio.create_task(self._deliver_for_all(self._delivering))

    async def start(self, acquired: Iterable[tuple[Endpoint, NewLease]]) -> None:
        """Start to deliver to endpoints just leased."""
        if self._delivering is None:
            raise RuntimeError("not registered")
        started: list[LeasedEndpoint] = []
        for endpoint, lease in acquired:
            certificates = certificates_of(endpoint)
            try:
                transport = self._delivering.open_transport(endpoint, lease.lease)
            except OSError as error:
                self._on_unusable(endpoint, lease.lease, error)
                continue
            leased = LeasedEndpoint(
                endpoint,
                lease.lease,
                certificates,
                transport,
                lease.position,
                lease.highest_seq,
                lease.last_hour,
                self._open_pipeline,
            )
            self._leased[leased.endpoint_id] = leased
            started.append(leased)
        with suppress(LeaseLost, ServerReplaced):  # The next heartbeat finds that out, too.
            await self._delivering.add(started)
        self._endpoint_log.assigned([(leased.endpoint_id, leased.endpoint) for leased in started])

    def stop(self, endpoint_id: EndpointId) -> None:
        """Have an endpoint's requests in flight finished, and release its lease."""
        self._end(self._leased[endpoint_id])

    def stop_all(self) -> None:
        """Stop to deliver to every endpoint, for good."""
        self._releases.tries_once = True
        for endpoint_id in list(self._leased):
            self.stop(endpoint_id)

    def stop_with_changed_certificates(self) -> None:
        """Stop every endpoint whose certificate files have changed since it was leased."""
        for leased in self.leased:
            if leased.certificates != certificates_of(leased.endpoint):
                self.stop(leased.endpoint_id)

    def look_at_schedule(self) -> None:
        """Read the retry schedules anew: somebody may have changed the delivery log."""
        if self._delivering is not None:
            self._delivering.look_at_schedule()

    def probe(self, endpoint_id: EndpointId) -> None:
        """End the pause before an endpoint's next probe, if it is failing."""
        leased = self._leased.get(endpoint_id)
        if leased is not None and leased.pipeline is not None:
            leased.pipeline.probe_now()

    def unreported(self) -> list[tuple[LeasedEndpoint, EndpointState]]:
        """Return the endpoints whose state has changed since it was reported."""
        unreported = []
        for endpoint_id, leased in list(self._active.items()):
            if self._leased.get(endpoint_id) is not leased or self._delivering_to(leased) is None:
                del self._active[endpoint_id]
                continue
            state = leased.state
            if state != leased.reported:
                unreported.append((leased, state))
            elif leased.pipeline is None and not state.deliveries_per_second:
                del self._active[endpoint_id]
        return unreported

    async def lose(self, *, finish: bool) -> None:
        """End all leases, as the registration has ended.

        Args:
            finish: Whether requests in flight are to finish: as another server serves the database, nobody else has
                the leases yet, and a repetition must not overtake them.
        """
        if self._shared_work is not None:
            await end([self._shared_work])
        delivering, self._delivering, self._registration = self._delivering, None, None
        if delivering is not None:
            delivering.drop_all()
        tasks: list[asyncio.Task[None]] = []
        for leased in self.leased:
            leased.stopping = True
            running = self._running.get(leased, {})
            tasks += running
            if not (running and finish):
                del self._leased[leased.endpoint_id]
            if finish:
                _stop(running)
            else:
                self._endpoint_log.lost(leased.endpoint_id, leased.endpoint.name)
        if not finish:
            await end(tasks)
        if delivering is not None:
            self._spawn(_close(delivering, tasks))

    async def release(self, leased: LeasedEndpoint, problem: str | None) -> None:
        """Release the lease of an endpoint that is stuck.

        Args:
            leased: The endpoint.
            problem: Why nobody delivers to it now.
        """
        pipeline, registration = leased.pipeline, leased.lease.registration
        withdrawn = pipeline is not None and pipeline.withdrawn
        with suppress(TimeoutError, InstallationError):
            async with asyncio.timeout(RELEASE_WITHIN_SECONDS):
                await self._store.release(registration, [Release(leased.lease, leased.state, problem, withdrawn)])

    async def ended(self) -> None:
        """Wait until every pipeline has ended and every lease is released."""
        while tasks := list(self._tasks):
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """End everything at once."""
        await end([*self._tasks, *([] if self._shared_work is None else [self._shared_work])])
        if self._delivering is not None:
            await self._delivering.close()

    async def _deliver_for_all(self, delivering: Delivering) -> None:
        try:
            await delivering.run()
        except (LeaseLost, ServerReplaced):
            self.changed.set()  # The next heartbeat finds that out, too.
        except InstallationError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - nothing is delivered without it: the daemon ends
            _log.exception("change log reader crashed")
            self._fail(error)

    def _open_pipeline(self, leased: LeasedEndpoint) -> EndpointPipeline:
        delivering = self._delivering_to(leased)
        if delivering is None:
            raise RuntimeError("the lease is lost")
        if leased.telemetry is None:
            leased.telemetry = Telemetry(leased.endpoint.name, leased.last_hour)
        pipeline = delivering.open_pipeline(leased, self.changed.set)
        stopping = asyncio.get_running_loop().create_future()
        task = self._spawn(self._deliver(leased, pipeline, stopping))
        self._running.setdefault(leased, {})[task] = stopping
        self._active[leased.endpoint_id] = leased
        return pipeline

    def _on_unusable(self, endpoint: Endpoint, lease: Lease, error: OSError) -> None:
        problem = None
        if (resource := exhausted_resource(error)) is not None:
            _log.error("out of resources", endpoint=endpoint.name, problem=f"this process ran out of {resource}")
        else:
            problem = f"a certificate file can no longer be read: {error.strerror or type(error).__name__}"
            self._endpoint_log.invalid(lease.endpoint_id, endpoint.name, problem)
        self._pause(lease.endpoint_id)
        self.unusable.add(lease.endpoint_id)
        self._release(Release(lease, EndpointState(), problem))

    async def _deliver(
        self, leased: LeasedEndpoint, pipeline: EndpointPipeline, stopping: asyncio.Future[None]
    ) -> None:
        problem, lost, crashed = None, False, True
        try:
            await pipeline.run(stopping, self._finish_within_seconds)
            crashed = False
        except LeaseLost:
            lost = True
            self._endpoint_log.lost(leased.endpoint_id, leased.endpoint.name)
        except ServerReplaced:
            lost = True
        except PayloadInvalid as error:
            problem = error.problem
            self._endpoint_log.invalid(leased.endpoint_id, leased.endpoint.name, problem)
            self._pause(leased.endpoint_id)
        except InstallationError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other endpoints go on
            _log.exception("delivery task crashed", endpoint=leased.endpoint.name)
            problem = f"delivery task crashed and will restart: {type(error).__name__}"
            self._pause(leased.endpoint_id)
        finally:
            if not (crashed or lost or pipeline.withdrawn):
                leased.ended(pipeline)
            self._note_ended(leased)
        if lost:
            self._lose(leased)
        elif crashed or pipeline.withdrawn or leased.stopping:
            self._end(leased, problem)

    def _note_ended(self, leased: LeasedEndpoint) -> None:
        running, task = self._running.get(leased, {}), asyncio.current_task()
        if task is not None:
            running.pop(task, None)
        if not running:
            self._running.pop(leased, None)

    def _delivering_to(self, leased: LeasedEndpoint) -> Delivering | None:
        return self._delivering if leased.lease.registration is self._registration else None

    def _end(self, leased: LeasedEndpoint, problem: str | None = None) -> None:
        """Have an endpoint's pipelines finish, and release its lease once they have."""
        leased.problem = leased.problem or problem
        self._stop(leased)
        if leased in self._running or self._leased.get(leased.endpoint_id) is not leased:
            return
        withdrawn = leased.pipeline is not None and leased.pipeline.withdrawn
        del self._leased[leased.endpoint_id]
        self._release(Release(leased.lease, leased.state, leased.problem, withdrawn), leased)

    def _release(self, release: Release, leased: LeasedEndpoint | None = None) -> None:
        self._releases.add(release, partial(self._released, leased))
        self.changed.set()

    def _released(self, leased: LeasedEndpoint | None) -> None:
        if leased is not None and (delivering := self._delivering_to(leased)) is not None:
            delivering.forget(leased)

    def _stop(self, leased: LeasedEndpoint) -> None:
        if not leased.stopping:
            leased.stopping = True
            if (delivering := self._delivering_to(leased)) is not None:
                delivering.leave(leased)
        _stop(self._running.get(leased, {}))

    def _lose(self, leased: LeasedEndpoint) -> None:
        self._stop(leased)
        if self._leased.get(leased.endpoint_id) is leased:
            del self._leased[leased.endpoint_id]
        if (delivering := self._delivering_to(leased)) is not None:
            delivering.forget(leased)
        self.changed.set()

    async def drop(self, endpoint_ids: Iterable[EndpointId]) -> None:
        """End the leases of endpoints that somebody has removed, at once and without a release."""
        for leased in [self._leased[endpoint_id] for endpoint_id in endpoint_ids if endpoint_id in self._leased]:
            self._endpoint_log.lost(leased.endpoint_id, leased.endpoint.name)
            running = list(self._running.get(leased, ()))
            self._lose(leased)
            await end(running)

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _pause(self, endpoint_id: EndpointId) -> None:
        self._restart_at[endpoint_id] = self._clock() + RESTART_AFTER_SECONDS


def _stop(running: Mapping[asyncio.Task[None], asyncio.Future[None]]) -> None:
    for stopping in running.values():
        if not stopping.done():
            stopping.set_result(None)


async def _close(delivering: Delivering, tasks: Collection[asyncio.Task[None]]) -> None:
    """Close what endpoints shared once their pipelines have ended."""
    try:
        if tasks:
            await asyncio.wait(tasks)
    finally:
        await delivering.close()
