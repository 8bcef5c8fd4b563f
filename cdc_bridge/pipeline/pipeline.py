"""One endpoint's way from the change log to recorded deliveries.

    intake -> DeliveryQueue -> dispatcher -> transport -> DeliveryQueue -> recorder

Each stage is a task, and talks to the queue only. The first that fails ends the pipeline.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog

from cdc_bridge.capture.position import Position
from cdc_bridge.capture.reader import Reader
from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import PayloadInvalid, ServerReplaced
from cdc_bridge.model import History
from cdc_bridge.pipeline.dispatcher import Dispatcher, LastBodies, Reservations, Transport
from cdc_bridge.pipeline.intake import ChangeIntake, Changes, Retries, RetryIntake
from cdc_bridge.pipeline.queue import DeliveryQueue
from cdc_bridge.pipeline.recorder import Recorder, Records
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.tasks import end

_WINDOW_PAGES = 3

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
        reader: Reader,
        changes: Changes,
        reservations: Reservations,
        delivery_log: DeliveryLog,
        transport: Transport,
        telemetry: Telemetry,
        source: str,
        history: History,
        page_size: int,
        state_changed: Callable[[], None],
        problem_of_process: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Connect the stages; must run inside the event loop.

        Args:
            endpoint: The destination.
            lease: The right to send to it.
            position: What is recorded already.
            reader: This pipeline's side of the wake-up.
            changes: The change log.
            reservations: Where bodies come from.
            delivery_log: Where deliveries are recorded, and retries come from.
            transport: Sends the requests. Its owner closes it.
            telemetry: Gets what happens.
            source: CloudEvents source of all requests.
            history: The server's, in front of all numbers.
            page_size: Maximum number of changes read at once; memory holds up to three such pages.
            state_changed: Called when the endpoint starts or stops failing, or a probe fails.
            problem_of_process: Returns what keeps this process from sending, whatever the endpoint.
        """
        self._endpoint = endpoint
        self._telemetry = telemetry
        self._problem_of_process = problem_of_process
        self._queue = DeliveryQueue(
            position,
            window=_WINDOW_PAGES * page_size,
            page_size=page_size,
            latest_only=endpoint.latest_only,
            events=endpoint.events,
        )
        self._changes = ChangeIntake(self._queue, changes, reader, position, page_size=page_size, telemetry=telemetry)
        self._retries = RetryIntake(self._queue, delivery_log)
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
        )
        self._recorder = Recorder(self._queue, delivery_log, telemetry)
        self._finishing = False

    @property
    def withdrawn(self) -> bool:
        """Whether the endpoint wants no more requests (410)."""
        return self._dispatcher.withdrawn.is_set()

    @property
    def state(self) -> EndpointState:
        """The endpoint's state, as this daemon knows it."""
        telemetry, dispatcher = self._telemetry, self._dispatcher
        failing = dispatcher.failing_since is not None
        probe_at = datetime.now(UTC) + timedelta(seconds=dispatcher.probe_in_seconds or 0.0)
        return EndpointState(
            failing_since=dispatcher.failing_since,
            next_probe_at=probe_at if failing else None,
            problem=dispatcher.problem if failing else self._recorder.problem or self._problem_of_process(),
            rate_limited_since=None if failing else dispatcher.rate_limited_since,
            in_flight=len(dispatcher.requests),
            deliveries_per_second=telemetry.delivered_per_second(asyncio.get_running_loop().time()),
            last_success_at=telemetry.last_success_at,
            last_failure_at=telemetry.last_failure_at,
            last_failure=telemetry.last_failure,
            last_hour=telemetry.last_hour,
        )

    @property
    def stalled_since(self) -> float | None:
        """Start of the time without progress, by the event loop's clock; ``None``: there is no work."""
        since = (self._dispatcher.stalled_since, self._recorder.busy_since)
        return min((at for at in since if at is not None), default=None)

    @property
    def unread_since(self) -> float | None:
        """Time of the last read of the log, by the event loop's clock; ``None``: reading is paused."""
        return None if self._finishing or self._changes.reader.state == "blocked" else self._changes.read_at

    def look_at_schedule(self) -> None:
        """Read the retry schedule again: somebody may have changed the delivery log."""
        self._queue.schedule_changed.set()

    def probe_now(self) -> None:
        """End the pause before the next probe: somebody says that the endpoint works again."""
        self._dispatcher.probe_now()

    async def run(self, stopping: asyncio.Event, finish_within_seconds: float) -> None:
        """Deliver until stopped, or the endpoint is withdrawn, or the payload invalid; then finish what is in flight.

        Args:
            stopping: Set to stop.
            finish_within_seconds: Requests that take longer to finish are abandoned; they will be repeated.

        Raises:
            LeaseLost: Another daemon has acquired the lease.
            ServerReplaced: Another server serves the database. Nothing that is in flight can be recorded; its requests
                have finished, so that none of them overtakes its repetition.
            PayloadInvalid: The payload does not fit e-Res's tables any more.
            InstallationError: The SQL side cannot be used any more.
        """
        recording = asyncio.create_task(self._recorder.run())
        sources = (self._changes.run(), self._retries.run(), self._dispatcher.run())
        feeding = [asyncio.create_task(source) for source in sources]
        stops = [asyncio.create_task(event.wait()) for event in (stopping, self._dispatcher.withdrawn)]
        failures: list[asyncio.Future[Any]] = [recording, self._dispatcher.crashed]
        finishing: list[asyncio.Task[None]] = []
        invalid: PayloadInvalid | None = None
        try:
            try:
                await _first_of([*stops, *feeding, *failures])
            except PayloadInvalid as error:
                invalid = error
            self._finishing = True
            await end(feeding)
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
            await end([*stops, recording, *feeding, *self._dispatcher.requests, *finishing])
            if self._dispatcher.crashed.done():
                self._dispatcher.crashed.exception()  # It was raised, or something else ended the pipeline first.

    async def _finish(self) -> None:
        await self._dispatcher.finish_requests()
        await self._queue.all_recorded.wait()


async def _first_of(works: Sequence[asyncio.Future[Any]]) -> None:
    done, _ = await asyncio.wait(works, return_when=FIRST_COMPLETED)
    for ended in done:
        ended.result()
