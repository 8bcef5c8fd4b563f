"""Takes deliveries from the lanes, loads what they are about, makes the calls and draws the conclusions.

Loading is done just before calling, for as many deliveries as there are free slots, so that a body is the reservation
as it stands when the call is made.

How many deliveries may be taken from the lanes the breaker says, and what a refusal means for the delivery. Whether
any call may be made at all says the lease.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from cdc_bridge.capture.position import Snapshot
from cdc_bridge.database import Database
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.store import EndpointState
from cdc_bridge.errors import LeaseLost
from cdc_bridge.model import Delivery, ReservationId, Seq
from cdc_bridge.payload.loader import Loaded, Reservation, ReservationLoader
from cdc_bridge.pipeline.breaker import Breaker
from cdc_bridge.pipeline.lanes import Lanes
from cdc_bridge.pipeline.recorder import Recorder
from cdc_bridge.pipeline.settlement import after_attempt, gone
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.transport.client import Sender
from cdc_bridge.transport.message import compose
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault

_LOAD_LIMIT = 100

_log = structlog.get_logger(__name__)


class Dispatcher:
    """Makes the calls to one endpoint."""

    def __init__(
        self,
        database: Database,
        endpoint: Endpoint,
        lease: Lease,
        lanes: Lanes,
        recorder: Recorder,
        *,
        telemetry: Telemetry,
        source: str,
        state_changed: Callable[[], None],
    ) -> None:
        """Prepare to call; must run inside the event loop.

        Args:
            database: where the reservations are.
            endpoint: who is called, and how.
            lease: the right to call it.
            lanes: where the deliveries are taken from.
            recorder: where their settlements are put.
            telemetry: is told of every attempt.
            source: CloudEvents source of all calls.
            state_changed: called when :attr:`state` has become another.

        Raises:
            OSError: a certificate's file cannot be read.
        """
        self._database = database
        self._endpoint = endpoint
        self._lease = lease
        self._lanes = lanes
        self._recorder = recorder
        self._telemetry = telemetry
        self._source = source
        self._state_changed = state_changed
        self._sender = Sender(endpoint, lambda: lease.valid)
        self._breaker = Breaker(endpoint.max_in_flight)
        self._loader = ReservationLoader()
        self._taken: dict[Seq, Delivery] = {}
        self._loaded_in: dict[Seq, Snapshot] = {}
        self._held: dict[ReservationId, Attempt] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._dispatchable = asyncio.Event()
        self._failing_since: datetime | None = None
        self._moved_at = self._now()
        self.failed_call: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with the error of a call that did not end as calls do."""
        self.withdrawn = asyncio.Event()
        """Set when the endpoint has said that it wants no more calls."""

    @property
    def calls_under_way(self) -> int:
        """How many calls are being made."""
        return len(self._calls)

    @property
    def state(self) -> EndpointState:
        """How the endpoint is."""
        told = self._telemetry
        state = EndpointState(
            in_flight=self.calls_under_way,
            deliveries_per_second=told.delivered_per_second(self._now()),
            last_success_at=told.last_success_at,
            last_failure_at=told.last_failure_at,
            last_failure=told.last_failure,
            last_hour=told.last_hour,
        )
        if self._failing_since is None:
            return state
        return replace(
            state,
            failing_since=self._failing_since,
            next_probe_at=datetime.now(UTC) + timedelta(seconds=self._probe_in_seconds() or 0.0),
            problem=self._breaker.reason,
        )

    def _probe_in_seconds(self) -> float | None:
        probe_at = self._breaker.probe_at
        return None if probe_at is None else max(0.0, probe_at - self._now())

    @property
    def stalled_since(self) -> float | None:
        """Since when, by the event loop's clock, there is work and no progress; ``None``: there is nothing to do."""
        probe_at = self._breaker.probe_at
        probe_overdue = probe_at is not None and probe_at < self._now()
        ready = self._lanes.next_ready is not None and not self._breaker.is_open
        if self._taken or ready or probe_overdue:
            return self._moved_at
        # Recording may begin without a call, hours after the last one.
        busy_since = self._recorder.busy_since
        return None if busy_since is None else max(self._moved_at, busy_since)

    def wake(self) -> None:
        """Look at the lanes again: something was added or freed."""
        self._dispatchable.set()

    async def run(self) -> None:
        """Make calls until cancelled; those under way go on.

        Raises:
            LeaseLost: another daemon has taken the endpoint.
            InstallationError: the payload view is not what is needed any more.
        """
        while True:
            deliveries = await self._next_deliveries()
            self._moved_at = self._now()
            self._under_way += len(deliveries)
            self._taken.update((delivery.change.seq, delivery) for delivery in deliveries)
            loaded = await self._load(deliveries)
            for delivery in deliveries:
                self._begin(delivery, loaded)

    async def finish_calls(self) -> None:
        """Wait for the calls under way."""
        if self._calls:
            await asyncio.wait(self._calls)

    def calls(self) -> set[asyncio.Task[None]]:
        """Return the calls under way, to be given up."""
        return set(self._calls)

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        if self.failed_call.done():
            self.failed_call.exception()  # It was told, or something else ended the pipeline first.
        await self._sender.close()

    def release(self, seq: Seq) -> tuple[Delivery, Snapshot | None] | None:
        """Let go of a delivery whose settlement is recorded.

        Returns:
            it and the snapshot in which its body was loaded; ``None`` if it was not taken here.
        """
        self._moved_at = self._now()
        delivery = self._taken.pop(seq, None)
        return None if delivery is None else (delivery, self._loaded_in.pop(seq, None))

    async def _next_deliveries(self) -> list[Delivery]:
        while True:
            await self._lease.until_valid()
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

    async def _load(self, deliveries: list[Delivery]) -> Loaded:
        ids = [delivery.change.reservation_id for delivery in deliveries]
        loaded = await self._database.patiently(
            partial(self._loader.load_readable, reservation_ids=ids, endpoint_id=self._lease.endpoint_id)
        )
        # Where nothing is found there is no fencing_token to see; then nothing is called, and recording it asks for the fencing_token.
        if loaded.reservations and loaded.fencing_token != self._lease.fencing_token:
            raise LeaseLost("another daemon has taken the endpoint over")
        return loaded

    def _begin(self, delivery: Delivery, loaded: Loaded) -> None:
        reservation = loaded.reservations.get(delivery.change.reservation_id)
        if reservation is None:
            self._settle_without_body(delivery, loaded)
            return
        self._note_snapshot(delivery, loaded)
        call = asyncio.create_task(self._call(delivery, reservation))
        self._calls.add(call)
        call.add_done_callback(self._on_call_ended)

    def _settle_without_body(self, delivery: Delivery, loaded: Loaded) -> None:
        reservation_id = delivery.change.reservation_id
        self._under_way -= 1
        problem = loaded.unreadable.get(reservation_id)
        if problem is None:
            self._breaker.forget(reservation_id)
            self._recorder.put(gone(delivery))
            return
        refused = Failed(None, f"the payload view cannot show it: {problem}")
        attempt = Attempt(None, datetime.now(UTC), 0.0, refused)
        if loaded.reservations:  # The view can show others, so it is this one's fault.
            self._breaker.forget(reservation_id)
            self._telemetry.attempted(delivery, attempt, self._now())
            self._settle(delivery, attempt)
        else:
            self._conclude(delivery, attempt)
            self._dispatchable.set()

    def _note_snapshot(self, delivery: Delivery, loaded: Loaded) -> None:
        if self._endpoint.latest_only and loaded.snapshot is not None:
            # Up to the newest change, as a position: ids above may come again after a crash of PostgreSQL.
            self._loaded_in[delivery.change.seq] = Snapshot.parse(loaded.snapshot).up_to(loaded.newest_change)

    async def _call(self, delivery: Delivery, reservation: Reservation) -> None:
        while True:
            message = compose(delivery.change, reservation.subject, self._source, reservation.body)
            attempt = await self._sender.send(message)
            if attempt is not None:
                break
            # The lease ran out before the body was written; what was loaded may be old by the time it is renewed.
            await self._lease.until_valid()
            loaded = await self._load([delivery])
            if delivery.change.reservation_id not in loaded.reservations:
                self._settle_without_body(delivery, loaded)
                return
            reservation = loaded.reservations[delivery.change.reservation_id]
            self._note_snapshot(delivery, loaded)
        self._under_way -= 1
        self._moved_at = self._now()
        self._conclude(delivery.tried(), attempt)
        self._dispatchable.set()

    def _conclude(self, delivery: Delivery, attempt: Attempt) -> None:
        reservation_id, outcome = delivery.change.reservation_id, attempt.outcome
        self._telemetry.attempted(delivery, attempt, self._now())
        if isinstance(outcome, Failed) and outcome.fault is Fault.WITHDRAWN:
            # Nothing is settled and the lane stays closed: when the endpoint is resumed, the call is made again.
            self.withdrawn.set()
            return
        backed_off = self._breaker.backs_off
        if isinstance(outcome, Delivered):
            ruling = self._breaker.accepted(reservation_id)
        else:
            ruling = self._breaker.refused(reservation_id, outcome, self._now(), random.random())
        if ruling.held:
            self.release(delivery.change.seq)
            self._lanes.hold(delivery)
            self._held[reservation_id] = attempt
            self._telemetry.held(delivery, attempt, self._probe_in_seconds())
        else:
            self._settle(delivery, attempt)
        for other in ruling.freed:
            del self._held[other]
            self._lanes.open(other)
        for other in ruling.charged:
            self._charge(other)
        if self._breaker.backs_off or backed_off:
            self._on_state(backed_off=backed_off)

    def _charge(self, reservation_id: ReservationId) -> None:
        delivery = self._lanes.take_of(reservation_id)
        attempt = self._held.pop(reservation_id)
        self._taken[delivery.change.seq] = delivery
        self._settle(delivery, attempt)

    def _on_call_ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and (error := call.exception()) and not self.failed_call.done():
            self.failed_call.set_exception(error)

    def _on_state(self, *, backed_off: bool) -> None:
        if self._breaker.backs_off != backed_off:
            if self._breaker.backs_off:
                self._failing_since = datetime.now(UTC)
                _log.warning("endpoint backs off", endpoint=self._endpoint.name, reason=self._breaker.reason)
            else:
                self._failing_since = None
                _log.info("endpoint works again", endpoint=self._endpoint.name)
        self._state_changed()

    def _settle(self, delivery: Delivery, attempt: Attempt) -> None:
        settlement = after_attempt(delivery, attempt, random.random())
        self._recorder.put(settlement)
        self._telemetry.settled(delivery, attempt, settlement)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
