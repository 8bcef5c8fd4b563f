"""One endpoint's way from the change log to settled deliveries.

    read a page -> queue in lanes -> load a batch -> build -> call -> settle -> record -> free the lane

Four tasks share it: one reads, one dispatches, one brings back what waits in the ledger when it is due, one
records. What is in memory is bounded by a window of changes handed over and not yet recorded; when it is full,
reading pauses, however long the log.

A daemon that died may have called a change and not recorded it. That is called again, and nothing older of its
reservation before it: what waits in the ledger below a change that is not read yet is not brought back until the log
was read to its end once.

With ``latest_only`` a call that was accepted stands for every change of its reservation that was committed when its
body was loaded, whether that change is in memory already or read later.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.change_log import Page, read_page
from cdc_bridge.capture.listener import Reader
from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.database import Database
from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.store import EndpointState
from cdc_bridge.model import Delivery, DeliveryState, ReservationId, Seq
from cdc_bridge.pipeline.coverage import Coverage
from cdc_bridge.pipeline.delivery_log import DueDelivery, due_deliveries, seconds_until_next_due, with_newer_unread
from cdc_bridge.pipeline.dispatcher import Dispatcher
from cdc_bridge.pipeline.lanes import Lanes, Watch
from cdc_bridge.pipeline.progress import Progress
from cdc_bridge.pipeline.recorder import Recorder
from cdc_bridge.pipeline.settlement import Settlement, superseded
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.tasks import end

_WINDOW_PAGES = 3
_COVERED_WINDOWS = 20  # so many times the window's changes are remembered as held by a body that was accepted
_LONGEST_WAIT_FOR_DUE_SECONDS = 60.0  # a net below the announcement that something was made due

_log = structlog.get_logger(__name__)


class Pipeline:
    """Delivers to one endpoint."""

    def __init__(
        self,
        database: Database,
        reader: Reader,
        endpoint: Endpoint,
        lease: Lease,
        position: Position,
        *,
        last_hour: LastHour | None,
        source: str,
        batch_size: int,
        state_changed: Callable[[], None],
    ) -> None:
        """Prepare to deliver; must run inside the event loop.

        Args:
            database: where change log, view and ledger are.
            reader: this pipeline's side of the doorbell.
            endpoint: who is called, and how.
            lease: the right to call it.
            position: how far it is.
            last_hour: the calls that were made before; ``None``: none is known.
            source: CloudEvents source of all its calls.
            batch_size: most changes read at once; up to three such pages are held in memory.
            state_changed: called when :attr:`state` has become another.

        Raises:
            OSError: a certificate's file cannot be read.
        """
        self._database = database
        self._reader = reader
        self._endpoint = endpoint
        self._endpoint_id = lease.endpoint_id
        self._position = position
        self._batch_size = batch_size
        self._window = _WINDOW_PAGES * batch_size
        self._lanes = Lanes()
        self._progress = Progress(position)
        self._recorder = Recorder(database, lease.endpoint_id, lease.fencing_token, self._progress, self._on_recorded)
        self._telemetry = Telemetry(endpoint.name, last_hour)
        self._dispatcher = Dispatcher(
            database,
            endpoint,
            lease,
            self._lanes,
            self._recorder,
            telemetry=self._telemetry,
            source=source,
            state_changed=state_changed,
        )
        self._coverage = Coverage(_COVERED_WINDOWS * self._window)
        self._retried: dict[Seq, ReservationId] = {}
        self._recorded = asyncio.Event()
        self._schedule_changed = asyncio.Event()
        self._not_yet: set[ReservationId] = set()
        self._read_to_end = False
        self._finishing = False
        self._read_at = asyncio.get_running_loop().time()
        self.has_waiting = False
        """Whether a delivery waits by its schedule, as far as was seen."""

    @property
    def oldest_in_hand(self) -> datetime | None:
        """When the oldest change was made that was read and is not recorded yet."""
        return self._progress.oldest

    @property
    def at_rest(self) -> bool:
        """Whether it has read all there was, and waits to be woken."""
        return self._reader.state == "resting"

    @property
    def withdrawn(self) -> bool:
        """Whether the endpoint has said that it wants no more calls."""
        return self._dispatcher.withdrawn.is_set()

    @property
    def state(self) -> EndpointState:
        """How the endpoint is."""
        return self._dispatcher.state

    @property
    def stalled_since(self) -> float | None:
        """Since when, by the event loop's clock, there is work and no progress; ``None``: there is nothing to do."""
        return self._dispatcher.stalled_since

    @property
    def unread_since(self) -> float | None:
        """Since when nothing was read, by the event loop's clock; ``None``: it can or is to take nothing more."""
        return None if self._finishing or self._reader.state == "held up" else self._read_at

    def look_at_schedule(self) -> None:
        """Look anew at what is due: somebody may have changed the ledger."""
        self._schedule_changed.set()

    async def run(self, stopping: asyncio.Event, finish_within_seconds: float) -> None:
        """Deliver until told to stop or the endpoint wants no more; then finish the calls under way and record them.

        Args:
            stopping: set to stop.
            finish_within_seconds: calls that take longer to finish are given up; they will be made again.

        Raises:
            LeaseLost: another daemon has taken the endpoint.
            InstallationError: the SQL side is not what is needed any more.
        """
        recording = asyncio.create_task(self._recorder.run())
        feeding = [asyncio.create_task(work) for work in (self._read(), self._bring_back_due(), self._dispatcher.run())]
        stops = [asyncio.create_task(event.wait()) for event in (stopping, self._dispatcher.withdrawn)]
        failures: list[asyncio.Future[Any]] = [recording, self._dispatcher.failed_call]
        finishing: asyncio.Task[None] | None = None
        try:
            await self._first_of(*stops, *feeding, *failures)
            self._finishing = True
            await end(feeding)
            _log.info("stopping", endpoint=self._endpoint.name, calls_under_way=self._dispatcher.calls_under_way)
            finishing = asyncio.create_task(self._finish())
            with suppress(TimeoutError):
                async with asyncio.timeout(finish_within_seconds):
                    await self._first_of(finishing, *failures)
        finally:
            calls = self._dispatcher.calls()
            await end([*stops, recording, *feeding, *calls, *([] if finishing is None else [finishing])])
            await self._dispatcher.close()

    @staticmethod
    async def _first_of(*works: asyncio.Future[Any]) -> None:
        done, _ = await asyncio.wait(works, return_when=FIRST_COMPLETED)
        for ended in done:
            ended.result()

    async def _finish(self) -> None:
        await self._dispatcher.finish_calls()
        await self._recorder.flush()

    async def _read(self) -> None:
        while True:
            if self._in_memory() > self._window - self._batch_size:
                with self._reader.held_up():
                    await self._until(self._recorded, lambda: self._in_memory() <= self._window - self._batch_size)
            with self._lanes.watch() as watch:
                page = await self._database.patiently(
                    partial(read_page, endpoint_id=self._endpoint_id, position=self._position, limit=self._batch_size)
                )
                self._hand_over(page, watch)
            self._read_at = asyncio.get_running_loop().time()
            if page.changes:
                self._reader.found()
            if page.at_end:
                self._on_read_to_end()
                await self._reader.rest()

    def _hand_over(self, page: Page, watch: Watch) -> None:
        unsettled = [logged for logged in page.changes if not logged.recorded]
        self._telemetry.read([logged.change for logged in unsettled])
        self._progress.hand_over({logged.change.seq: logged.change.changed_at for logged in unsettled}, page.position)
        if page.changes and not unsettled:
            self._recorder.move()  # Else the position would stay behind what nothing is made of.
        for logged in unsettled:
            delivery = Delivery(logged.change, xid=logged.xid)
            if logged.overtaken or watch.overtook(delivery) or self._coverage.covers(delivery):
                self._recorder.put(superseded(delivery))
            else:
                self._lanes.add(delivery)
        self._position = page.position
        self._dispatcher.wake()

    def _on_read_to_end(self) -> None:
        if not self._read_to_end:
            self._read_to_end = True
            self._schedule_changed.set()

    async def _bring_back_due(self) -> None:
        self._not_yet = await self._database.patiently(partial(with_newer_unread, endpoint_id=self._endpoint_id))
        while True:
            self._schedule_changed.clear()
            # One page of retries at a time: however many are due, new changes have the rest of the window.
            await self._until(self._recorded, lambda: len(self._retried) < self._batch_size)
            seconds = await self._database.patiently(self._seconds_until_next_due)
            self.has_waiting = seconds is not None
            if seconds is None or seconds > 0:
                await self._wait_for_schedule(seconds)
                continue
            with self._lanes.watch() as watch:
                self._retry(await self._database.patiently(self._due), watch)

    async def _seconds_until_next_due(self, connection: AsyncConnection[TupleRow]) -> float | None:
        return await seconds_until_next_due(connection, self._endpoint_id, self._occupied())

    async def _due(self, connection: AsyncConnection[TupleRow]) -> list[DueDelivery]:
        limit = self._batch_size - len(self._retried)
        return await due_deliveries(connection, self._endpoint_id, self._occupied(), limit)

    def _occupied(self) -> Collection[ReservationId]:
        if self._read_to_end:
            self._not_yet.clear()
        return self._lanes.reservations() | self._not_yet | set(self._retried.values())

    def _retry(self, due: list[DueDelivery], watch: Watch) -> None:
        occupied = set(self._occupied())
        for found in due:
            delivery = found.delivery
            if delivery.change.reservation_id in occupied:
                continue  # It, or a newer change of its reservation, was taken up while this was read.
            self._retried[delivery.change.seq] = delivery.change.reservation_id
            if found.overtaken or watch.overtook(delivery):
                self._recorder.put(superseded(delivery))
            else:
                self._lanes.add(delivery)
        self._dispatcher.wake()

    async def _wait_for_schedule(self, seconds: float | None) -> None:
        longest = _LONGEST_WAIT_FOR_DUE_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(longest if seconds is None else min(seconds, longest)):
                await self._schedule_changed.wait()

    def _on_recorded(self, settlement: Settlement) -> None:
        self._telemetry.recorded(settlement)
        released = self._dispatcher.release(settlement.change.seq)
        if released is not None:
            delivery, seen = released
            if settlement.state is DeliveryState.DELIVERED:
                self._on_delivered(delivery, seen)
            self._lanes.release(delivery)
        self._retried.pop(settlement.change.seq, None)
        if settlement.state.is_pending:
            self._schedule_changed.set()
        self._recorded.set()
        self._dispatcher.wake()

    def _on_delivered(self, delivery: Delivery, seen: Snapshot | None) -> None:
        self._supersede(self._lanes.overtaken_by(delivery))
        if seen is not None:  # of an endpoint that wants the latest only
            self._coverage.accepted(delivery.change.reservation_id, seen)
            self._supersede(self._lanes.covered_by(delivery, seen))

    def _supersede(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._retried.pop(delivery.change.seq, None)
            self._recorder.put(superseded(delivery))

    def _in_memory(self) -> int:
        return self._progress.outstanding + len(self._retried)

    @staticmethod
    async def _until(event: asyncio.Event, condition: Callable[[], bool]) -> None:
        while not condition():
            event.clear()
            await event.wait()
