"""Runs one pipeline for each endpoint that this daemon leases.

A pipeline that crashes does not touch the others: its lease is released, and the endpoint may be leased again after a
pause. An error that every pipeline would meet, such as a missing table, ends the daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Protocol

import structlog

from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.lease_store import NewLease
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import InstallationError, LeaseLost, PayloadInvalid, ServerReplaced
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime.definitions import certificates_of
from cdc_bridge.runtime.endpoint_log import EndpointLog
from cdc_bridge.runtime.leased_endpoint import EndpointPipeline, LeasedEndpoint
from cdc_bridge.tasks import end
from cdc_bridge.transport.exhaustion import exhausted_resource
from cdc_bridge.transport.proxy import route_of

RESTART_AFTER_SECONDS = 5.0
RELEASE_WITHIN_SECONDS = 5.0
"""A release that takes longer is given up, and the lease left to expire."""
_RELEASE_PAUSE_SECONDS = 0.3

PipelineFactory = Callable[[Endpoint, NewLease, Callable[[], None]], AbstractAsyncContextManager[EndpointPipeline]]
"""Opens a pipeline for an endpoint just leased; calls the last argument when the pipeline's state has changed.

Raises ``OSError`` on entry if a certificate file cannot be read.
"""

_log = structlog.get_logger(__name__)


class ReleaseStore(Protocol):
    """Where leases are released."""

    async def release(self, lease: Lease, state: EndpointState, problem: str | None, *, disable: bool) -> None:
        """Release a lease and report the endpoint's last state."""


class Supervisor:
    """Starts, stops and restarts pipelines, and releases the leases of those that have ended."""

    def __init__(
        self,
        open_pipeline: PipelineFactory,
        store: ReleaseStore,
        endpoint_log: EndpointLog,
        *,
        finish_within_seconds: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Prepare to run pipelines; must run inside the event loop.

        Args:
            open_pipeline: Opens an endpoint's pipeline.
            store: Where leases are released.
            endpoint_log: Logs what becomes of each endpoint.
            finish_within_seconds: Time limit for a stopped pipeline to finish its requests in flight.
            clock: Time in seconds; default: the event loop's.
        """
        self._open_pipeline = open_pipeline
        self._store = store
        self._endpoint_log = endpoint_log
        self._finish_within_seconds = finish_within_seconds
        self._clock = clock or asyncio.get_running_loop().time
        self._leased: dict[EndpointId, LeasedEndpoint] = {}
        self._deliveries: dict[EndpointId, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._releasing: set[EndpointId] = set()
        self._restart_at: dict[EndpointId, float] = {}
        self.changed = asyncio.Event()
        """Set when a pipeline has ended or its state has changed."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails when a pipeline met an error that ends the daemon."""

    @property
    def leased(self) -> Sequence[LeasedEndpoint]:
        """The endpoints that this daemon leases."""
        return list(self._leased.values())

    @property
    def pauses(self) -> Mapping[EndpointId, float]:
        """Seconds for which endpoints are not to be leased again."""
        now = self._clock()
        pauses = {endpoint_id: until - now for endpoint_id, until in self._restart_at.items()}
        # The database shows a lease of our own session as free. Acquired before the release is committed, an endpoint
        # that responded with 410 would not be disabled.
        return pauses | dict.fromkeys(self._releasing, _RELEASE_PAUSE_SECONDS)

    async def start(self, endpoint: Endpoint, acquired: NewLease) -> bool:
        """Start the pipeline of an endpoint just leased.

        Returns:
            Whether it could be started. If not, the lease is released.
        """
        lease, certificates, opened = acquired.lease, certificates_of(endpoint), AsyncExitStack()
        try:
            pipeline = await opened.enter_async_context(self._open_pipeline(endpoint, acquired, self.changed.set))
        except OSError as error:
            problem = None
            if (resource := exhausted_resource(error)) is not None:
                _log.error("out of resources", endpoint=endpoint.name, problem=f"this process ran out of {resource}")
            else:
                problem = f"a certificate file can no longer be read: {error.strerror or type(error).__name__}"
                self._endpoint_log.invalid(lease.endpoint_id, endpoint.name, problem)
            self._pause(lease.endpoint_id)
            self._spawn(self._release(lease, EndpointState(), problem))
            return False
        leased = self._leased[lease.endpoint_id] = LeasedEndpoint(endpoint, lease, pipeline, certificates)
        self._deliveries[lease.endpoint_id] = self._spawn(self._deliver(leased, opened))
        route = str(route_of(endpoint))
        self._endpoint_log.assigned(lease.endpoint_id, endpoint.name, endpoint.shown_url, route)
        return True

    def stop(self, endpoint_id: EndpointId) -> None:
        """Have a pipeline finish its requests in flight, and release its lease."""
        self._leased[endpoint_id].stopping.set()

    def stop_all(self) -> None:
        """Stop every pipeline."""
        for leased in self.leased:
            leased.stopping.set()

    def stop_with_changed_certificates(self) -> None:
        """Stop every pipeline whose certificate files have changed since it was started."""
        for leased in self.leased:
            if leased.certificates != certificates_of(leased.endpoint):
                leased.stopping.set()

    async def lose(self, leased: LeasedEndpoint) -> None:
        """End the pipeline of an endpoint whose lease was lost, at once and without a release."""
        endpoint_id = leased.lease.endpoint_id
        if self._leased.get(endpoint_id) is leased:
            self._endpoint_log.lost(endpoint_id, leased.endpoint.name)
            await end([self._deliveries[endpoint_id]])

    async def release(self, leased: LeasedEndpoint, problem: str | None) -> None:
        """Release an endpoint's lease.

        Args:
            leased: The endpoint.
            problem: Why nobody delivers to it now, if so.
        """
        pipeline = leased.pipeline
        await self._release(leased.lease, pipeline.state, problem, disable=pipeline.withdrawn)

    async def ended(self) -> None:
        """Wait until every pipeline has ended and every lease is released."""
        while tasks := list(self._tasks):
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """End every pipeline at once."""
        await end(list(self._tasks))

    async def _release(self, lease: Lease, state: EndpointState, problem: str | None, *, disable: bool = False) -> None:
        self._releasing.add(lease.endpoint_id)
        try:
            # If the release fails, other daemons wait until our session or the lease has ended.
            with suppress(TimeoutError, InstallationError):
                async with asyncio.timeout(RELEASE_WITHIN_SECONDS):
                    await self._store.release(lease, state, problem, disable=disable)
        finally:
            self._releasing.discard(lease.endpoint_id)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _pause(self, endpoint_id: EndpointId) -> None:
        self._restart_at[endpoint_id] = self._clock() + RESTART_AFTER_SECONDS

    async def _deliver(self, leased: LeasedEndpoint, opened: AsyncExitStack) -> None:
        endpoint_id, problem = leased.lease.endpoint_id, None
        try:
            async with opened:
                await leased.pipeline.run(leased.stopping, self._finish_within_seconds)
        except LeaseLost:
            self._endpoint_log.lost(endpoint_id, leased.endpoint.name)
            return
        except ServerReplaced:
            return
        except PayloadInvalid as error:
            problem = error.problem
            self._endpoint_log.invalid(endpoint_id, leased.endpoint.name, problem)
            self._pause(endpoint_id)
        except InstallationError as error:
            if not self.failed.done():
                self.failed.set_exception(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other endpoints go on
            _log.exception("delivery task crashed", endpoint=leased.endpoint.name)
            problem = f"delivery task crashed and will restart: {type(error).__name__}"
            self._pause(endpoint_id)
        finally:
            del self._leased[endpoint_id], self._deliveries[endpoint_id]
            self.changed.set()
        await self.release(leased, problem)
