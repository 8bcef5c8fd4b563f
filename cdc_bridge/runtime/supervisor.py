"""Runs a pipeline for each endpoint that this daemon holds, and holds those that nobody else does.

Again and again, and at once when somebody announces a change, it renews its leases, looks at the endpoints, ends the
pipelines of those that are paused, disabled, removed or called otherwise now, and takes what is free. PostgreSQL is the
only thing between daemons.

A pipeline that ends with a surprise is started again after a pause; the others go on. What every pipeline would meet,
such as a table that is gone, ends the daemon.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import FIRST_COMPLETED
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
import structlog

from cdc_bridge.capture.listener import Listener, Reader
from cdc_bridge.database import UNAVAILABLE, Database, backoff_seconds, problem_of, refusal
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.options import Endpoint, endpoint_from
from cdc_bridge.endpoints.store import (
    EndpointState,
    ListedEndpoint,
    NewLease,
    acquire_leases,
    end_sessions_of_expired_leases,
    record_problem,
    release_lease,
    renew_and_list,
)
from cdc_bridge.errors import InstallationError, LeaseLost
from cdc_bridge.metrics import forget_endpoint
from cdc_bridge.model import EndpointId
from cdc_bridge.pipeline.pipeline import Pipeline
from cdc_bridge.runtime.assignment import plan
from cdc_bridge.runtime.endpoint_log import EndpointLog
from cdc_bridge.runtime.heartbeat import Heartbeat
from cdc_bridge.tasks import end

_RENEWALS_A_LEASE = 2.4
_LOOK_AT_MOST_EVERY_SECONDS = 0.3
_RESTART_AFTER_SECONDS = 5.0
_RELEASE_WITHIN_SECONDS = 5.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class LeasedEndpoint:
    """An endpoint that this daemon holds."""

    endpoint: Endpoint
    lease: Lease
    reader: Reader
    pipeline: Pipeline
    certificates: Sequence[bytes]
    """What stood in its files when it was taken."""
    task: asyncio.Task[None] | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Holds endpoints and delivers to them."""

    def __init__(
        self,
        database: Database,
        listener: Listener,
        declared: Endpoint | None,
        *,
        source: str,
        batch_size: int,
        allow_http: bool,
        lease_seconds: float,
        finish_within_seconds: float,
    ) -> None:
        """Prepare to deliver; must run inside the event loop.

        Args:
            database: where everything is.
            listener: wakes the pipelines, and tells of announcements.
            declared: the endpoint of the settings, if there is one.
            source: CloudEvents source of all calls.
            batch_size: most changes that a pipeline reads at once.
            allow_http: admit ``http://`` to this machine.
            lease_seconds: how long an endpoint stays ours if nothing is heard of us.
            finish_within_seconds: longest time for calls under way to finish when a pipeline is stopped.
        """
        self._database = database
        self._listener = listener
        self._declared = declared
        self._source = source
        self._batch_size = batch_size
        self._allow_http = allow_http
        self.lease_seconds = lease_seconds
        """How long an endpoint stays ours if nothing is heard of us."""
        self.look_every_seconds = lease_seconds / _RENEWALS_A_LEASE
        """Longest time between two looks at the endpoints."""
        self._finish_within_seconds = finish_within_seconds
        self._heartbeat = Heartbeat(database, timeout_seconds=lease_seconds)
        self._held: dict[EndpointId, LeasedEndpoint] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._not_before: dict[EndpointId, float] = {}
        self._state_log = EndpointLog()
        self._definitions: dict[EndpointId, tuple[tuple[Any, ...], Endpoint]] = {}
        self._releasing: set[EndpointId] = set()
        self._failures = 0
        self._told_lost = False
        self._next_look_in_seconds = 0.0
        self._announced = False
        self._given_up = False
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._names: dict[EndpointId, str] = {}
        self.looked_at = self.tried_at = self._now()
        """When it last looked at the endpoints, and when it last tried to, by the event loop's clock."""

    @property
    def held(self) -> Sequence[LeasedEndpoint]:
        """What this daemon holds now."""
        return list(self._held.values())

    @property
    def database_lost(self) -> bool:
        """Whether the last look at the endpoints failed because the database is away."""
        return self._failures > 0

    def reload(self, declared: Endpoint | None, *, allow_http: bool) -> None:
        """Take up the settings' endpoint as it is now, and read all certificates and keys anew from their files."""
        self._declared = declared
        self._allow_http = allow_http
        self._definitions.clear()
        for held in self.held:
            if held.certificates != _certificates(held.endpoint):
                held.stopping.set()  # It is taken again at the next look.
        self._listener.announced.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Hold endpoints and deliver until told to stop; then finish the calls under way and give the endpoints back.

        Raises:
            InstallationError: the SQL side is not what is needed any more.
        """
        stop = asyncio.create_task(stopping.wait())
        # At once, also while a look waits for the database.
        stop.add_done_callback(lambda _: self._stop_pipelines())
        renewing: asyncio.Task[None] | None = None
        try:
            while not stop.done() and not self._fatal.done():
                await self._look()
                await self._wait_for_next_look(stop)
            self._stop_pipelines()
            renewing = asyncio.create_task(self._go_on_renewing())
            while tasks := list(self._tasks):
                await asyncio.wait(tasks)
            self._state_log.tell_losses()
        finally:
            await end([stop, *self._tasks, *([] if renewing is None else [renewing])])
            await self._heartbeat.close()
        if self._fatal.done():
            self._fatal.result()

    def _stop_pipelines(self) -> None:
        for held in self.held:
            held.stopping.set()

    async def _wait_for_next_look(self, stop: asyncio.Task[bool]) -> None:
        earliest = self._now() + min(_LOOK_AT_MOST_EVERY_SECONDS, self._next_look_in_seconds)
        announced = asyncio.create_task(self._listener.announced.wait())
        ends: list[asyncio.Future[Any]] = [stop, self._fatal]
        await asyncio.wait([*ends, announced], timeout=self._next_look_in_seconds, return_when=FIRST_COMPLETED)
        await end([announced])
        await asyncio.wait(ends, timeout=max(0.0, earliest - self._now()), return_when=FIRST_COMPLETED)

    async def _look(self) -> None:
        if self._given_up:
            return
        self._announced = self._announced or self._listener.announced.is_set()
        self._listener.announced.clear()
        self._next_look_in_seconds = self.look_every_seconds
        try:
            await self._follow_plan(await self._renew_and_list())
        except UNAVAILABLE as error:
            # The pipelines meet the same, and say so, if there are any. Their leases end, and they call nobody.
            self._failures += 1
            if not self._held and not self._told_lost:
                self._told_lost = True
                _log.warning("database lost", problem=problem_of(error))
            self._next_look_in_seconds = backoff_seconds(self._failures, random.random())
            return
        except psycopg.Error as error:
            raise refusal(error) from error
        finally:
            self.tried_at = self._now()
        self._failures = 0
        if self._told_lost:
            self._told_lost = False
            _log.info("database back")
        self.looked_at = self.tried_at
        if self._announced:
            self._announced = False
            for held in self.held:
                held.pipeline.look_at_schedule()

    async def _go_on_renewing(self) -> None:
        while True:
            with suppress(*UNAVAILABLE):
                await self._renew_and_list()
            self.looked_at = self.tried_at = (
                self._now()
            )  # Nothing else is looked at any more, for as long as calls may take.
            await asyncio.sleep(self.look_every_seconds)

    async def _renew_and_list(self) -> list[ListedEndpoint]:
        asked_at = Lease.now()
        ours = [
            (endpoint_id, held.lease.fencing_token, held.pipeline.state) for endpoint_id, held in self._held.items()
        ]
        still_ours, listed = await self._heartbeat.run(
            lambda connection: renew_and_list(
                connection, ours, self._heartbeat.number, self.lease_seconds, listening=self._listener.listening
            )
        )
        for endpoint_id, fencing_token, _ in ours:
            held = self._held.get(endpoint_id)
            if held is None or held.lease.fencing_token != fencing_token:
                continue  # It was given back meanwhile.
            if endpoint_id in still_ours:
                held.lease.renew(asked_at, self.lease_seconds)
            elif held.task is not None:
                self._state_log.lost(endpoint_id, held.endpoint.name)
                await end([held.task])
        return listed

    async def _follow_plan(self, listed: list[ListedEndpoint]) -> None:
        definitions = {endpoint_id: held.endpoint for endpoint_id, held in self._held.items()}
        pauses = {endpoint_id: until - self._now() for endpoint_id, until in self._not_before.items()}
        # To our own session its own lock looks free. Taken before it is released, the endpoint would not be disabled.
        pauses |= dict.fromkeys(self._releasing, _LOOK_AT_MOST_EVERY_SECONDS)
        planned = plan(listed, definitions, self._definition, pauses)
        self._state_log.seen(listed)
        self._forget_removed({endpoint.endpoint_id: endpoint.name for endpoint in listed})
        self._definitions = {
            endpoint.endpoint_id: self._definitions[endpoint.endpoint_id]
            for endpoint in listed
            if endpoint.endpoint_id in self._definitions
        }
        for endpoint_id in planned.stop:
            self._held[endpoint_id].stopping.set()
        for endpoint, problem in planned.problems:
            await self._tell_problem(endpoint, problem)
        if planned.take:
            await self._take(dict(planned.take))
        if (seconds := planned.look_again_in_seconds) is not None:
            self._next_look_in_seconds = min(self._next_look_in_seconds, max(_LOOK_AT_MOST_EVERY_SECONDS, seconds))

    def _forget_removed(self, names: dict[EndpointId, str]) -> None:
        for name in set(self._names.values()) - set(names.values()):
            forget_endpoint(name)
        self._names = names

    def _definition(self, endpoint: ListedEndpoint) -> Endpoint | None:
        if endpoint.in_settings:
            return self._declared if self._declared and self._declared.name == endpoint.name else None
        known = self._definitions.get(endpoint.endpoint_id)
        # What could be used once is not checked again and again: that reads certificates from files.
        if known is None or known[0] != endpoint.stored:
            known = endpoint.stored, endpoint_from(endpoint.name, endpoint.row, allow_http=self._allow_http)
            self._definitions[endpoint.endpoint_id] = known
        return known[1]

    async def _tell_problem(self, endpoint: ListedEndpoint, problem: str) -> None:
        self._state_log.cannot_be_called(endpoint.endpoint_id, endpoint.name, problem)
        if endpoint.row["problem"] != problem:
            await self._heartbeat.run(partial(record_problem, endpoint=endpoint, problem=problem))

    async def _take(self, definitions: dict[ListedEndpoint, Endpoint]) -> None:
        asked_at = Lease.now()
        taken = await self._heartbeat.run(
            lambda connection: acquire_leases(
                connection, list(definitions), self._heartbeat.number, self._heartbeat.name, self.lease_seconds
            )
        )
        by_id = {endpoint.endpoint_id: definition for endpoint, definition in definitions.items()}
        for ours in taken:
            await self._start(by_id[ours.endpoint_id], ours, asked_at)
        if locked := by_id.keys() - {ours.endpoint_id for ours in taken}:
            ended = await self._heartbeat.run(
                partial(end_sessions_of_expired_leases, endpoint_ids=locked, daemon_name=self._heartbeat.name)
            )
            if ended:
                _log.warning("sessions of a silent daemon ended", sessions=ended)
            self._next_look_in_seconds = _LOOK_AT_MOST_EVERY_SECONDS

    async def _start(self, endpoint: Endpoint, taken: NewLease, asked_at: float) -> None:
        lease = Lease(taken.endpoint_id, taken.fencing_token)
        lease.renew(asked_at, self.lease_seconds)
        reader = self._listener.reader()
        certificates = _certificates(endpoint)
        try:
            pipeline = Pipeline(
                self._database,
                reader,
                endpoint,
                lease,
                taken.position,
                last_hour=taken.last_hour,
                source=self._source,
                batch_size=self._batch_size,
                state_changed=self._listener.announced.set,
            )
        except OSError as error:
            self._listener.dismiss(reader)
            await self._give_back_unusable(
                endpoint,
                taken,
                f"a certificate's file cannot be read any more: {error.strerror or type(error).__name__}",
            )
            return
        held = self._held[taken.endpoint_id] = LeasedEndpoint(endpoint, lease, reader, pipeline, certificates)
        held.task = asyncio.create_task(self._deliver(held))
        self._tasks.add(held.task)
        held.task.add_done_callback(self._tasks.discard)
        self._state_log.taken(taken.endpoint_id, endpoint.name, endpoint.shown_url)

    async def _give_back_unusable(self, endpoint: Endpoint, taken: NewLease, problem: str) -> None:
        """Give back an endpoint whose files are not what they were when they were checked."""
        self._state_log.cannot_be_called(taken.endpoint_id, endpoint.name, problem)
        self._definitions.pop(taken.endpoint_id, None)
        self._not_before[taken.endpoint_id] = self._now() + _RESTART_AFTER_SECONDS
        await self._heartbeat.run(
            lambda connection: release_lease(
                connection, taken.endpoint_id, taken.fencing_token, EndpointState(), problem, disable=False
            )
        )

    async def _deliver(self, held: LeasedEndpoint) -> None:
        endpoint_id, problem = held.lease.endpoint_id, None
        try:
            await held.pipeline.run(held.stopping, self._finish_within_seconds)
        except LeaseLost:
            self._state_log.lost(endpoint_id, held.endpoint.name)
            return
        except InstallationError as error:
            if not self._fatal.done():
                self._fatal.set_exception(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other endpoints go on
            _log.exception("deliveries ended by a surprise", endpoint=held.endpoint.name)
            problem = f"deliveries ended by a surprise and begin again: {type(error).__name__}"
            self._not_before[endpoint_id] = self._now() + _RESTART_AFTER_SECONDS
        finally:
            self._listener.dismiss(held.reader)
            del self._held[endpoint_id]
            self._listener.announced.set()
        self._releasing.add(endpoint_id)
        try:
            await self._release(held, problem)
        finally:
            self._releasing.discard(endpoint_id)

    async def give_up(self, held: LeasedEndpoint, problem: str) -> None:
        """Let another daemon take an endpoint that is stuck here, and say so in its row, if that can be done.

        The daemon ends after this: it renews and takes nothing any more.
        """
        self._given_up = True
        await self._release(held, problem)

    async def _release(self, held: LeasedEndpoint, problem: str | None) -> None:
        releasing = partial(
            release_lease,
            endpoint_id=held.lease.endpoint_id,
            fencing_token=held.lease.fencing_token,
            state=held.pipeline.state,
            problem=problem,
            disable=held.pipeline.withdrawn,
        )
        # If this cannot be done in time, or at all, the others wait until our session or the lease has ended.
        with suppress(TimeoutError, InstallationError):
            async with asyncio.timeout(_RELEASE_WITHIN_SECONDS):
                await self._database.patiently(releasing)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _certificates(endpoint: Endpoint) -> list[bytes]:
    """Return what stands in an endpoint's files; of one that cannot be read, nothing."""
    contents = []
    for path in endpoint.files:
        try:
            contents.append(path.read_bytes())
        except OSError:
            contents.append(b"")
    return contents
