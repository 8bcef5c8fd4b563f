"""One endpoint's way from changes handed over to recorded deliveries.

    reader -> DeliveryQueue -> dispatcher -> transport -> DeliveryQueue -> recorder

Each stage is a task, and talks to the queue only. The first that fails ends the pipeline. A pipeline is made when
there is something to deliver, and ends when there is nothing any more: an idle endpoint has none.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog

from cdc_bridge.capture.change_log import Page
from cdc_bridge.capture.position import Position
from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import PayloadInvalid, ServerReplaced
from cdc_bridge.model import History, Seq
from cdc_bridge.pipeline.dispatcher import Dispatcher, LastBodies, Reservations, Transport
from cdc_bridge.pipeline.in_memory import MANY_ENDPOINTS, InMemory
from cdc_bridge.pipeline.intake import Retries, RetryIntake
from cdc_bridge.pipeline.queue import DeliveredMeanwhile, DeliveryQueue
from cdc_bridge.pipeline.recorded_position import PageUnderWay
from cdc_bridge.pipeline.recorder import Recorder, Records
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.tasks import end

_WINDOW_PAGES = 3
_WINDOW_WHILE_FAILING = 32
"""Changes for a failing endpoint that are kept in memory: more are of no use to probes."""
REST_AFTER_SECONDS = 3.0
"""How long there is nothing to deliver before a pipeline ends."""
_REST_SOON_SECONDS = 0.2
"""The same while there are very many."""

_log = structlog.get_logger(__name__)


class DeliveryLog(Retries, Records, LastBodies, Protocol):
    """The delivery log of one endpoint."""


class Pipeline:
    """Delivers to one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        lease: Lease,
        position: Position,
        *,
        caught_up: bool,
        reservations: Reservations,
        delivery_log: DeliveryLog,
        transport: Transport,
        telemetry: Telemetry,
        source: str,
        history: History,
        page_size: int,
        state_changed: Callable[[], None],
        problem_of_process: Callable[[], str | None] = lambda: None,
        in_memory: InMemory | None = None,
        rest_after_seconds: float = REST_AFTER_SECONDS,
    ) -> None:
        """Connect the stages; must run inside the event loop.

        Args:
            endpoint: The destination.
            lease: The right to send to it.
            position: What is recorded already.
            caught_up: Whether the change log was read to its end under this lease already.
            reservations: Where bodies come from.
            delivery_log: Where deliveries are recorded, and retries come from.
            transport: Sends the requests. Its owner closes it.
            telemetry: Gets what happens.
            source: CloudEvents source of all requests.
            history: The server's, in front of all numbers.
            page_size: Maximum number of changes handed over at once; memory holds up to three such pages.
            state_changed: Called when the endpoint starts or stops failing, a probe fails, or its very first attempt
                has ended.
            problem_of_process: Returns what keeps this process from sending, whatever the endpoint.
            in_memory: Counts the deliveries of all endpoints.
            rest_after_seconds: Time with nothing to deliver after which it ends.
        """
        self._endpoint = endpoint
        self._telemetry = telemetry
        self._problem_of_process = problem_of_process
        self._rest_after_seconds = rest_after_seconds
        self._in_memory = in_memory or InMemory()
        self._queue = DeliveryQueue(
            position,
            window=_WINDOW_PAGES * page_size,
            page_size=page_size,
            latest_only=endpoint.latest_only,
            events=endpoint.events,
            caught_up=caught_up,
            in_memory=self._in_memory,
        )
        self._retries = RetryIntake(self._queue, delivery_log, caught_up=caught_up)
        self._dispatcher = Dispatcher(
            self._queue,
            endpoint,
            lease,
            transport=transport,
            reservations=reservations,
            last_bodies=delivery_log,
            telemetry=telemetry,
            source=source,
            history=history,
            state_changed=state_changed,
            in_memory=self._in_memory,
        )
        self._recorder = Recorder(self._queue, delivery_log, telemetry)
        self._loop = asyncio.get_running_loop()
        self._at_rest: asyncio.Future[None] = self._loop.create_future()
        self._ending = False
        self.closed = False
        """Whether there was nothing to deliver any more, so that it ends and another one takes what comes."""

    @property
    def has_room(self) -> bool:
        """Whether a page of changes may be handed over."""
        if self._ending:
            return False
        # With latest_only, changes supersede one another and leave memory.
        failing = self._dispatcher.failing_since is not None and not self._endpoint.latest_only
        return self._queue.has_room and not (failing and self._queue.changes >= _WINDOW_WHILE_FAILING)

    async def until_room(self) -> None:
        """Wait until a page of changes may be handed over."""
        await self._queue.until(lambda: self.has_room)

    def reading(self) -> AbstractContextManager[DeliveredMeanwhile]:
        """Note what is delivered while the delivery log is asked for changes, for :meth:`hand_over`."""
        return self._queue.reading()

    def hand_over(
        self, page: Page, meanwhile: DeliveredMeanwhile, before: Position, shared: PageUnderWay | None
    ) -> None:
        """Take the changes of a page that are for this endpoint.

        Args:
            page: The page, without others.
            meanwhile: What was delivered since the delivery log was asked.
            before: The position before it.
            shared: The page that it is a part of, if the endpoint follows the daemon's position.
        """
        self._telemetry.read([logged.change for logged in page.changes if not logged.recorded])
        self._queue.hand_over(page, meanwhile, before, shared)

    def caught_up(self) -> None:
        """Note that the change log was read to its end once under this lease."""
        self._queue.caught_up()

    @property
    def position(self) -> Position:
        """The position up to which everything is recorded that was handed over."""
        return self._queue.position

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in flight."""
        return self._queue.is_empty

    @property
    def highest_retry(self) -> Seq:
        """The highest number of a delivery that was handed over to be retried."""
        return self._queue.highest_retry

    def has_part_of(self, page: PageUnderWay) -> bool:
        """Return whether some of a page is in flight."""
        return self._queue.has_part_of(page)

    def stop_following(self) -> None:
        """Have the daemon's position no longer wait for what is in flight here."""
        self._queue.stop_following()

    @property
    def withdrawn(self) -> bool:
        """Whether the endpoint wants no more requests (410)."""
        return self._dispatcher.withdrawn.done()

    @property
    def state(self) -> EndpointState:
        """The endpoint's state, as this daemon knows it."""
        telemetry, dispatcher = self._telemetry, self._dispatcher
        failing = dispatcher.failing_since is not None
        probe_at = datetime.now(UTC) + timedelta(seconds=dispatcher.probe_in_seconds or 0.0)
        return replace(
            telemetry.state(asyncio.get_running_loop().time()),
            failing_since=dispatcher.failing_since,
            next_probe_at=probe_at if failing else None,
            problem=dispatcher.problem if failing else self._recorder.problem or self._problem_of_process(),
            rate_limited_since=None if failing else dispatcher.rate_limited_since,
            in_flight=len(dispatcher.requests),
        )

    @property
    def stalled_since(self) -> float | None:
        """Start of the time without progress, by the event loop's clock; ``None``: there is no work."""
        since = (self._dispatcher.stalled_since, self._recorder.busy_since)
        return min((at for at in since if at is not None), default=None)

    def look_at_schedule(self) -> None:
        """Read the retry schedule again: somebody may have changed the delivery log."""
        self._queue.schedule_changed.set()

    def probe_now(self) -> None:
        """End the pause before the next probe: somebody says that the endpoint works again."""
        self._dispatcher.probe_now()

    async def run(self, stopping: asyncio.Future[None], finish_within_seconds: float) -> None:
        """Deliver until there is nothing left, or stopped, or the endpoint is withdrawn, or the payload invalid.

        Then finish what is in flight.

        Args:
            stopping: Done to stop.
            finish_within_seconds: Requests that take longer to finish are abandoned; they will be repeated.

        Raises:
            LeaseLost: Another daemon has acquired the lease.
            ServerReplaced: Another server serves the database. Nothing that is in flight can be recorded; its requests
                have finished, so that none of them overtakes its repetition.
            PayloadInvalid: The payload does not fit e-Res's tables any more.
            InstallationError: The SQL side cannot be used any more.
        """
        self._in_memory.endpoints += 1
        recording = asyncio.create_task(self._recorder.run())
        feeding = [asyncio.create_task(work) for work in (self._retries.run(), self._dispatcher.run())]
        failures: list[asyncio.Future[Any]] = [recording, self._dispatcher.crashed]
        finishing: list[asyncio.Task[None]] = []
        invalid: PayloadInvalid | None = None
        self._look_for_rest_later()
        try:
            try:
                await _first_of([stopping, self._dispatcher.withdrawn, self._at_rest, *feeding, *failures])
            except PayloadInvalid as error:
                invalid = error
            finally:
                self._ending = True
            if self.closed:
                return
            await end(feeding)
            if not self._queue.is_empty:
                _log.info("stopping", endpoint=self._endpoint.name, in_flight=len(self._dispatcher.requests))
            finishing = [asyncio.create_task(self._finish())]
            with suppress(TimeoutError):
                async with asyncio.timeout(finish_within_seconds):
                    await _first_of([*finishing, *failures])
            if invalid is not None:
                raise invalid
        except ServerReplaced:
            await end([recording, *feeding])
            with suppress(TimeoutError):
                async with asyncio.timeout(finish_within_seconds):
                    await self._dispatcher.finish_requests()
            raise
        finally:
            self._in_memory.endpoints -= 1
            try:
                await end([recording, *feeding, *self._dispatcher.requests, *finishing])
            finally:
                self._queue.drop()
            if self._dispatcher.crashed.done():
                self._dispatcher.crashed.exception()  # It was raised, or something else ended the pipeline first.

    def _look_for_rest_later(self) -> None:
        many = self._in_memory.endpoints >= MANY_ENDPOINTS
        pause_seconds = min(_REST_SOON_SECONDS, self._rest_after_seconds) if many else self._rest_after_seconds
        self._loop.call_later(pause_seconds, self._look_for_rest, self._queue.moves)

    def _look_for_rest(self, moves_before: int) -> None:
        """Take no more, and end, if there was nothing to deliver for some time."""
        if self._ending:
            return
        if self._is_at_rest and self._queue.moves == moves_before:
            self.closed = True
            self._at_rest.set_result(None)
        else:
            self._look_for_rest_later()

    @property
    def _is_at_rest(self) -> bool:
        due = not self._retries.waiting or self._queue.schedule_changed.is_set()
        recorded = self._queue.is_empty and self._queue.all_recorded.is_set()
        return recorded and not due and self._dispatcher.failing_since is None

    async def _finish(self) -> None:
        await self._dispatcher.finish_requests()
        await self._queue.all_recorded.wait()


async def _first_of(works: Sequence[asyncio.Future[Any]]) -> None:
    done, _ = await asyncio.wait(works, return_when=FIRST_COMPLETED)
    for ended in done:
        ended.result()
