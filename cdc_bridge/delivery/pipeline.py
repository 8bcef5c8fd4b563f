"""One endpoint's way from the change log to settled deliveries.

    read a page -> queue in lanes -> load a batch -> build -> call -> settle -> record -> free the lane

Four tasks share it: one reads, one dispatches, one brings back what waits in the ledger when it is due, one
records. What is in memory is bounded by a window of changes handed over and not yet recorded; when it is full,
reading pauses, however long the log. Loading is done just before calling, for as many deliveries as there are free
slots, so that a body is the reservation as it stands when the call is made.

How many deliveries may be taken from the lanes the breaker says, and what a refusal means for the delivery.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from cdc_bridge.capture.change_log import Page, read_page
from cdc_bridge.capture.listener import Reader
from cdc_bridge.capture.position import Position
from cdc_bridge.database import Database
from cdc_bridge.delivery.breaker import Breaker
from cdc_bridge.delivery.lanes import Lanes
from cdc_bridge.delivery.ledger import EndpointPosition, due_deliveries, seconds_until_next_due
from cdc_bridge.delivery.message import compose
from cdc_bridge.delivery.outcome import Accepted, Fault, Refused
from cdc_bridge.delivery.progress import Progress
from cdc_bridge.delivery.recorder import Recorder
from cdc_bridge.delivery.sender import Sender
from cdc_bridge.delivery.settlement import Attempt, Settlement, after_attempt, gone, superseded
from cdc_bridge.model import Delivery, DeliveryState, Endpoint, ReservationId, Seq
from cdc_bridge.payload.reservations import Reservation, ReservationLoader
from cdc_bridge.tasks import end

_LOAD_LIMIT = 100
_WINDOW_PAGES = 3
_LONGEST_WAIT_FOR_DUE_SECONDS = 1.0  # others make deliveries due as well: replay, backfill, "delivery retry"

_log = structlog.get_logger(__name__)


class Pipeline:
    """Delivers to one endpoint."""

    def __init__(
        self,
        database: Database,
        reader: Reader,
        endpoint: Endpoint,
        start: EndpointPosition,
        *,
        source: str,
        batch_size: int,
    ) -> None:
        """Prepare to deliver; must run inside the event loop.

        Args:
            database: where change log, view and ledger are.
            reader: this pipeline's side of the doorbell.
            endpoint: who is called, and how.
            start: how far it is.
            source: CloudEvents source of all its calls.
            batch_size: most changes read at once; up to three such pages are held in memory.

        Raises:
            OSError: a certificate's file cannot be read.
        """
        self._database = database
        self._reader = reader
        self._endpoint = endpoint
        self._endpoint_id = start.endpoint_id
        self._position: Position = start.position
        self._source = source
        self._batch_size = batch_size
        self._window = _WINDOW_PAGES * batch_size
        self._sender = Sender(endpoint)
        self._breaker = Breaker(endpoint.max_in_flight)
        self._lanes = Lanes()
        self._progress = Progress(start.position)
        self._recorder = Recorder(database, start.endpoint_id, self._progress, self._on_recorded)
        self._loader = ReservationLoader()
        self._taken: dict[Seq, Delivery] = {}
        self._held: dict[ReservationId, Attempt] = {}
        self._retried: set[Seq] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._failed_call: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way = 0
        self._withdrawn = asyncio.Event()
        self._recorded = asyncio.Event()
        self._dispatchable = asyncio.Event()
        self._schedule_changed = asyncio.Event()

    @property
    def withdrawn(self) -> bool:
        """Whether the endpoint has said that it wants no more calls."""
        return self._withdrawn.is_set()

    async def run(self, stopping: asyncio.Event, finish_within_seconds: float) -> None:
        """Deliver until told to stop or the endpoint wants no more; then finish the calls under way and record them.

        Args:
            stopping: set to stop.
            finish_within_seconds: calls that take longer to finish are given up; they will be made again.

        Raises:
            InstallationError: the SQL side is not what is needed any more.
        """
        recording = asyncio.create_task(self._recorder.run())
        feeding = [asyncio.create_task(work) for work in (self._read(), self._bring_back_due(), self._dispatch())]
        stops = [asyncio.create_task(event.wait()) for event in (stopping, self._withdrawn)]
        try:
            ends: list[asyncio.Future[Any]] = [*stops, recording, *feeding, self._failed_call]
            done, _ = await asyncio.wait(ends, return_when=FIRST_COMPLETED)
            for ended in done:
                ended.result()
            await end(feeding)
            _log.info("stopping", endpoint=self._endpoint.name, calls_under_way=len(self._calls))
            with suppress(TimeoutError):
                async with asyncio.timeout(finish_within_seconds):
                    await self._finish_calls()
                    await self._recorder.flush()
        finally:
            await end([*stops, recording, *feeding, *self._calls])
            await self._sender.close()

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
            if self._endpoint.latest_only:
                self._supersede(self._lanes.replaced_by(delivery))
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
            deliveries = await self._next_deliveries()
            self._under_way += len(deliveries)
            self._taken.update((delivery.change.seq, delivery) for delivery in deliveries)
            ids = [delivery.change.reservation_id for delivery in deliveries]
            loaded = await self._database.patiently(partial(self._loader.load, reservation_ids=ids))
            for delivery in deliveries:
                reservation = loaded.get(delivery.change.reservation_id)
                if reservation is None:
                    self._under_way -= 1
                    self._breaker.forget(delivery.change.reservation_id)
                    self._recorder.put(gone(delivery))
                else:
                    call = asyncio.create_task(self._call(delivery, reservation))
                    self._calls.add(call)
                    call.add_done_callback(self._on_call_ended)

    async def _next_deliveries(self) -> list[Delivery]:
        while True:
            self._dispatchable.clear()
            probe = self._breaker.begin_probe(self._now(), self._lanes.next_ready)
            if probe is not None:
                self._held.pop(probe, None)
                return [self._lanes.take_of(probe)]
            free = min(self._breaker.allows(self._under_way), _LOAD_LIMIT)
            if deliveries := self._lanes.take(free):
                return deliveries
            probe_at = self._breaker.probe_at
            with suppress(TimeoutError):
                async with asyncio.timeout_at(probe_at):
                    await self._dispatchable.wait()

    async def _call(self, delivery: Delivery, reservation: Reservation) -> None:
        message = compose(delivery.change, reservation.subject, self._source, reservation.body)
        attempt = await self._sender.send(message)
        self._under_way -= 1
        self._conclude(delivery, attempt)
        self._dispatchable.set()

    def _conclude(self, delivery: Delivery, attempt: Attempt) -> None:
        reservation_id, outcome = delivery.change.reservation_id, attempt.outcome
        if isinstance(outcome, Refused) and outcome.fault is Fault.WITHDRAWN:
            # Nothing is settled and the lane stays closed: when the endpoint is resumed, the call is made again.
            self._withdrawn.set()
            return
        backed_off = self._breaker.backs_off
        delivery = delivery.tried()
        if isinstance(outcome, Accepted):
            ruling = self._breaker.accepted(reservation_id)
        else:
            ruling = self._breaker.refused(reservation_id, outcome, self._now(), random.random())
        if ruling.held:
            self._taken.pop(delivery.change.seq)
            self._lanes.hold(delivery)
            self._held[reservation_id] = attempt
        else:
            self._recorder.put(after_attempt(delivery, attempt, random.random()))
        self._log_attempt(delivery, attempt, held=ruling.held)
        for other in ruling.freed:
            del self._held[other]
            self._lanes.open(other)
        for other in ruling.charged:
            self._charge(other)
        if self._breaker.backs_off != backed_off:
            self._log_state()

    def _charge(self, reservation_id: ReservationId) -> None:
        delivery = self._lanes.take_of(reservation_id)
        attempt = self._held.pop(reservation_id)
        self._taken[delivery.change.seq] = delivery
        self._recorder.put(after_attempt(delivery, attempt, random.random()))
        self._log_attempt(delivery, attempt, held=False)

    def _on_call_ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and (error := call.exception()) and not self._failed_call.done():
            self._failed_call.set_exception(error)

    def _on_recorded(self, settlement: Settlement) -> None:
        seq = settlement.change.seq
        delivery = self._taken.pop(seq, None)
        if delivery is not None:
            if settlement.state is DeliveryState.DELIVERED:
                self._supersede(self._lanes.overtaken_by(delivery))
            self._lanes.release(delivery)
        self._retried.discard(seq)
        if settlement.state is DeliveryState.WAITING:
            self._schedule_changed.set()
        self._recorded.set()
        self._dispatchable.set()

    def _supersede(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._retried.discard(delivery.change.seq)
            self._recorder.put(superseded(delivery))

    def _in_memory(self) -> int:
        return self._progress.outstanding + len(self._retried)

    async def _finish_calls(self) -> None:
        if self._calls:
            await asyncio.wait(self._calls)

    def _log_attempt(self, delivery: Delivery, attempt: Attempt, *, held: bool) -> None:
        facts = {
            "reservation_id": delivery.change.reservation_id,
            "seq": delivery.change.seq,
            "attempt": delivery.attempts,
            "status": attempt.outcome.status,
        }
        match attempt.outcome:
            case Accepted():
                _log.debug("delivered", **facts)
            case Refused(reason=reason) if held:
                _log.debug("held", **facts, reason=reason)
            case Refused(reason=reason):
                _log.warning("refused", **facts, reason=reason)

    def _log_state(self) -> None:
        if self._breaker.backs_off:
            _log.warning("endpoint backs off", endpoint=self._endpoint.name, reason=self._breaker.reason)
        else:
            _log.info("endpoint works again", endpoint=self._endpoint.name)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    @staticmethod
    async def _until(event: asyncio.Event, condition: Callable[[], bool]) -> None:
        while not condition():
            event.clear()
            await event.wait()
