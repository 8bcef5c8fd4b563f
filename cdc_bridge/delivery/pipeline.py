"""One endpoint's way from the change log to settled deliveries.

    read a page -> queue in lanes -> load a batch -> build -> call -> settle -> record -> free the lane

Four tasks share it: one reads, one dispatches, one brings back what waits in the ledger when it is due, one
records. What is in memory is bounded by a window of changes handed over and not yet recorded; when it is full,
reading pauses, however long the log. Loading is done just before calling, for as many deliveries as there are free
slots, so that a body is the reservation as it stands when the call is made.

The endpoint's breaker, when there is one, belongs between the lanes and the loading: it decides how many
deliveries may be taken.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import FIRST_COMPLETED
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from cdc_bridge.capture.change_log import Page, read_page
from cdc_bridge.capture.listener import Reader
from cdc_bridge.capture.position import Position
from cdc_bridge.database import Database
from cdc_bridge.delivery.lanes import Lanes
from cdc_bridge.delivery.ledger import EndpointPosition, due_deliveries, seconds_until_next_due
from cdc_bridge.delivery.message import compose
from cdc_bridge.delivery.progress import Progress
from cdc_bridge.delivery.recorder import Recorder
from cdc_bridge.delivery.sender import Sender
from cdc_bridge.delivery.settlement import Settlement, after_attempt, gone, superseded
from cdc_bridge.model import Delivery, DeliveryState, Seq
from cdc_bridge.payload.reservations import Reservation, ReservationLoader
from cdc_bridge.tasks import end

_LOAD_LIMIT = 100
_WINDOW_PAGES = 3
_LONGEST_WAIT_FOR_DUE_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class Pipeline:
    """Delivers to one endpoint."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        reader: Reader,
        start: EndpointPosition,
        *,
        source: str,
        max_in_flight: int,
        batch_size: int,
    ) -> None:
        """Prepare to deliver; must run inside the event loop.

        Args:
            database: where change log, view and ledger are.
            sender: makes the calls.
            reader: this pipeline's side of the doorbell.
            start: the endpoint and how far it is.
            source: CloudEvents source of all its calls.
            max_in_flight: most calls under way at once.
            batch_size: most changes read at once; up to three such pages are held in memory.
        """
        self._database = database
        self._sender = sender
        self._reader = reader
        self._endpoint_id = start.endpoint_id
        self._position: Position = start.position
        self._source = source
        self._max_in_flight = max_in_flight
        self._batch_size = batch_size
        self._window = _WINDOW_PAGES * batch_size
        self._lanes = Lanes()
        self._progress = Progress(start.position)
        self._recorder = Recorder(database, start.endpoint_id, self._progress, self._on_recorded)
        self._loader = ReservationLoader()
        self._taken: dict[Seq, Delivery] = {}
        self._retried: set[Seq] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._failed_call: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._free_slots = max_in_flight
        self._recorded = asyncio.Event()
        self._dispatchable = asyncio.Event()
        self._schedule_changed = asyncio.Event()

    async def run(self, stopping: asyncio.Event, finish_within_seconds: float) -> None:
        """Deliver until told to stop; then finish the calls under way and record them.

        Args:
            stopping: set to stop.
            finish_within_seconds: calls that take longer to finish are given up; they will be made again.

        Raises:
            InstallationError: the SQL side is not what is needed any more.
        """
        recording = asyncio.create_task(self._recorder.run())
        feeding = [asyncio.create_task(work) for work in (self._read(), self._bring_back_due(), self._dispatch())]
        stop = asyncio.create_task(stopping.wait())
        try:
            ends: list[asyncio.Future[Any]] = [stop, recording, *feeding, self._failed_call]
            done, _ = await asyncio.wait(ends, return_when=FIRST_COMPLETED)
            for ended in done:
                ended.result()
            await end(feeding)
            _log.info("stopping", calls_under_way=len(self._calls))
            with suppress(TimeoutError):
                async with asyncio.timeout(finish_within_seconds):
                    await self._finish_calls()
                    await self._recorder.flush()
        finally:
            await end([stop, recording, *feeding, *self._calls])

    async def _read(self) -> None:
        while True:
            if self._in_memory() > self._window - self._batch_size:
                with self._reader.held_up():
                    await self._until(self._recorded, lambda: self._in_memory() <= self._window - self._batch_size)
            self._lanes.begin_read()
            page = await self._database.patiently(
                partial(read_page, endpoint_id=self._endpoint_id, position=self._position, limit=self._batch_size)
            )
            self._hand_over(page)
            if page.changes:
                self._reader.found()
            if page.at_end:
                await self._reader.rest()

    def _hand_over(self, page: Page) -> None:
        unsettled = [logged for logged in page.changes if not logged.recorded]
        self._progress.hand_over([logged.change.seq for logged in unsettled], page.position)
        for logged in unsettled:
            delivery = Delivery(logged.change)
            if logged.overtaken or self._lanes.overtook(delivery):
                self._recorder.put(superseded(delivery))
            else:
                self._lanes.add(delivery)
        self._lanes.end_read()
        self._position = page.position
        self._dispatchable.set()

    async def _bring_back_due(self) -> None:
        while True:
            self._schedule_changed.clear()
            # One page of retries at a time: however many are due, new changes have the rest of the window.
            await self._until(self._recorded, lambda: len(self._retried) < self._batch_size)
            limit = self._batch_size - len(self._retried)
            due = await self._database.patiently(
                partial(due_deliveries, endpoint_id=self._endpoint_id, occupied=self._lanes.reservations(), limit=limit)
            )
            self._retry(due)
            seconds = await self._database.patiently(
                partial(seconds_until_next_due, endpoint_id=self._endpoint_id, occupied=self._lanes.reservations())
            )
            await self._wait_for_schedule(seconds)

    def _retry(self, due: list[Delivery]) -> None:
        occupied = set(self._lanes.reservations())
        for delivery in due:
            if delivery.change.reservation_id not in occupied:
                self._retried.add(delivery.change.seq)
                self._lanes.add(delivery)
        self._dispatchable.set()

    async def _wait_for_schedule(self, seconds: float | None) -> None:
        pause = _LONGEST_WAIT_FOR_DUE_SECONDS if seconds is None else max(0.0, seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(pause, _LONGEST_WAIT_FOR_DUE_SECONDS)):
                await self._schedule_changed.wait()

    async def _dispatch(self) -> None:
        while True:
            await self._until(self._dispatchable, lambda: self._lanes.any_ready and self._free_slots > 0)
            deliveries = self._lanes.take(min(self._free_slots, _LOAD_LIMIT))
            self._free_slots -= len(deliveries)
            self._taken.update((delivery.change.seq, delivery) for delivery in deliveries)
            ids = [delivery.change.reservation_id for delivery in deliveries]
            loaded = await self._database.patiently(partial(self._loader.load, reservation_ids=ids))
            for delivery in deliveries:
                reservation = loaded.get(delivery.change.reservation_id)
                if reservation is None:
                    self._free_slot()
                    self._recorder.put(gone(delivery))
                else:
                    call = asyncio.create_task(self._call(delivery, reservation))
                    self._calls.add(call)
                    call.add_done_callback(self._on_call_ended)

    async def _call(self, delivery: Delivery, reservation: Reservation) -> None:
        message = compose(delivery.change, reservation.subject, self._source, reservation.body)
        attempt = await self._sender.send(message)
        self._free_slot()
        settlement = after_attempt(delivery, attempt, random.random())
        self._log_attempt(settlement)
        self._recorder.put(settlement)

    def _on_call_ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and (error := call.exception()) and not self._failed_call.done():
            self._failed_call.set_exception(error)

    def _free_slot(self) -> None:
        self._free_slots += 1
        self._dispatchable.set()

    def _on_recorded(self, settlement: Settlement) -> None:
        seq = settlement.change.seq
        delivery = self._taken.pop(seq, None)
        if delivery is not None:
            if settlement.state is DeliveryState.DELIVERED:
                for older in self._lanes.overtaken_by(delivery):
                    self._retried.discard(older.change.seq)
                    self._recorder.put(superseded(older))
            self._lanes.release(delivery)
        self._retried.discard(seq)
        if settlement.state is DeliveryState.WAITING:
            self._schedule_changed.set()
        self._recorded.set()
        self._dispatchable.set()

    def _in_memory(self) -> int:
        return self._progress.outstanding + len(self._retried)

    async def _finish_calls(self) -> None:
        if self._calls:
            await asyncio.wait(self._calls)

    def _log_attempt(self, settlement: Settlement) -> None:
        facts = {
            "reservation_id": settlement.change.reservation_id,
            "seq": settlement.change.seq,
            "attempt": settlement.attempts,
            "status": settlement.last_status,
        }
        if settlement.state is DeliveryState.DELIVERED:
            _log.debug("delivered", **facts)
        else:
            again = settlement.pause_seconds and round(settlement.pause_seconds, 1)
            _log.warning(
                "refused", **facts, reason=settlement.last_error, state=settlement.state.value, again_in_seconds=again
            )

    @staticmethod
    async def _until(event: asyncio.Event, condition: Callable[[], bool]) -> None:
        while not condition():
            event.clear()
            await event.wait()
