"""Takes deliveries from the queue, loads their reservations, sends the requests and applies the outcomes.

Reservations are loaded just before sending, for as many deliveries as there are free slots, so that a body is the
reservation as it is when the request is sent.

The breaker says how many requests may be in flight, and whether a failure counts as the delivery's own. The lease says
whether any may be sent at all, and the token bucket how many a second.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog

from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.model import DeliveryState, History, ReservationId, SkipReason
from cdc_bridge.payload.loaded import ROOM_BYTES, SMALL_BYTES, Loaded, Reservation
from cdc_bridge.pipeline.breaker import Breaker, is_at_fault
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.pipeline.in_memory import InMemory
from cdc_bridge.pipeline.queue import DeliveryQueue
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.pipeline.token_bucket import TokenBucket
from cdc_bridge.tasks import wait_for_event
from cdc_bridge.transport.message import Message, body_hash, compose
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault

_LOAD_LIMIT = 100

_RESUMED_AT_ONCE = 16
"""Reservations set aside that are tried again when there is room: each is measured again."""

_log = structlog.get_logger(__name__)


class Transport(Protocol):
    """Sends requests to one endpoint."""

    async def send(self, message: Message) -> Attempt | None:
        """Send a message and return the attempt; ``None``: the body was not written, and is to be loaded again."""


class Reservations(Protocol):
    """Loads the reservations that the endpoint gets."""

    async def load(self, reservation_ids: Sequence[ReservationId], room_bytes: int) -> Loaded:
        """Return those of the reservations that it gets, as they are in snapshots taken from now on.

        Those that are not small and have more than ``room_bytes`` in all are postponed.

        Raises:
            LeaseLost: Another daemon had ended the leases of this one when they were read.
        """


class LastBodies(Protocol):
    """What the endpoint has of reservations."""

    async def last_bodies(
        self, reservation_ids: Sequence[ReservationId], history: History
    ) -> Mapping[ReservationId, str]:
        """Return the hash of the body that was delivered last, of those of which the endpoint surely has no other."""


class Dispatcher:
    """Sends the requests to one endpoint."""

    def __init__(
        self,
        queue: DeliveryQueue,
        endpoint: Endpoint,
        lease: Lease,
        *,
        transport: Transport,
        reservations: Reservations,
        last_bodies: LastBodies,
        telemetry: Telemetry,
        source: str,
        history: History,
        state_changed: Callable[[], None],
        in_memory: InMemory,
    ) -> None:
        """Prepare to send; must run inside the event loop.

        Args:
            queue: The deliveries in flight.
            endpoint: The destination.
            lease: The right to send to it.
            transport: Sends the requests.
            reservations: Where bodies come from.
            last_bodies: What was delivered last.
            telemetry: Gets every attempt.
            source: CloudEvents source of all requests.
            history: The server's, in front of all numbers.
            state_changed: Called when the endpoint starts or stops failing, a probe fails, or its very first attempt
                has ended.
            in_memory: Counts the deliveries of all endpoints.
        """
        self._now = asyncio.get_running_loop().time
        self._in_memory = in_memory
        self._queue = queue
        self._endpoint = endpoint
        self._lease = lease
        self._transport = transport
        self._reservations = reservations
        self._last_bodies = last_bodies
        self._telemetry = telemetry
        self._source = source
        self._history = history
        self._state_changed = state_changed
        self._breaker = Breaker(endpoint.max_in_flight)
        self._requests: set[asyncio.Task[None]] = set()
        self._large_bytes = 0
        """Of the bodies in memory that are not small."""
        self.failing_since: datetime | None = None
        """Start of the present failure of the endpoint; ``None``: it is not failing."""
        self._bucket = TokenBucket(endpoint.max_per_second, self._now())
        self.rate_limited_since: datetime | None = None
        """Since when requests have had to wait for ``max_per_second``; ``None``: they have not."""
        self._moved_at = self._now()
        self.crashed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails with the exception of a request task that crashed."""
        self.withdrawn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the endpoint wants no more requests (410)."""

    @property
    def requests(self) -> set[asyncio.Task[None]]:
        """The tasks of the requests in flight."""
        return self._requests

    @property
    def problem(self) -> str | None:
        """The last failure that counts as the endpoint's."""
        return self._breaker.reason

    @property
    def probe_in_seconds(self) -> float | None:
        """Time until the next probe; ``None``: none is due, or one is in flight."""
        probe_at = self._breaker.probe_at
        return None if probe_at is None else max(0.0, probe_at - self._now())

    @property
    def stalled_since(self) -> float | None:
        """Start of the time without progress, by the event loop's clock; ``None``: there is no work."""
        queue, since, now = self._queue, self._probe_at, self._now()
        if queue.sending:
            return self._moved_at
        # What was made ready just now is taken as soon as the event is seen.
        if queue.has_ready and not self._breaker.is_open and not queue.dispatchable.is_set():
            since = self._moved_at
        if since is None:
            return None
        since = max(self._moved_at, since, self._bucket.next_at(now))
        return since if since <= now else None

    def probe_now(self) -> None:
        """Send the next probe at once, if one is waiting."""
        self._breaker.probe_now(self._now())
        self._queue.dispatchable.set()

    async def run(self) -> None:
        """Send requests until cancelled; those in flight continue.

        Raises:
            LeaseLost: Another daemon has acquired the lease.
            PayloadInvalid: The payload does not fit e-Res's tables any more.
        """
        while True:
            deliveries = await self._next_deliveries()
            self._moved_at = self._now()
            loaded = await self._load(deliveries)
            unchanged = await self._unchanged(deliveries, loaded) if self._endpoint.skip_unchanged else ()
            for delivery in deliveries:
                if delivery in unchanged:
                    self._skip(delivery, SkipReason.UNCHANGED)
                else:
                    self._start(delivery, loaded)
            self._resume_set_aside()

    def _resume_set_aside(self) -> None:
        """Let reservations be taken that were set aside, unless a request will end and make room for them."""
        if not self._large_bytes:
            self._queue.resume_set_aside(_RESUMED_AT_ONCE)

    async def finish_requests(self) -> None:
        """Wait for the requests in flight."""
        if self._requests:
            await asyncio.wait(self._requests)

    async def _next_deliveries(self) -> list[InFlight]:
        while True:
            await self._lease.until_valid()
            self._queue.dispatchable.clear()
            self._note_rate_limit()
            if deliveries := self._take():
                return deliveries
            await wait_for_event(self._queue.dispatchable, self._idle_seconds)

    @property
    def _idle_seconds(self) -> float | None:
        """Time until a request or a verdict is due; ``None``: there is nothing to wait for."""
        now, verdict_at = self._now(), self._breaker.verdict_at
        if (request_at := self._request_at(now)) is not None:
            request_at = max(request_at, self._bucket.next_at(now))
        times = [at for at in (request_at, verdict_at) if at is not None]
        return max(0.0, min(times) - now) if times else None

    def _request_at(self, now: float) -> float | None:
        """Return when the next request is due, if there is a token for it; ``None``: nothing may be sent."""
        if self._queue.has_ready and self._breaker.allows(self._queue.sending):
            return now
        return self._probe_at

    def _note_rate_limit(self) -> None:
        """Note since when requests have had to wait for tokens, also if in between they waited for others to end."""
        now = self._now()
        if (request_at := self._request_at(now)) is not None and request_at <= now and not self._bucket.available(now):
            self.rate_limited_since = self.rate_limited_since or datetime.now(UTC)
        elif self._bucket.is_wasting(now) or not self._queue.has_ready:
            self.rate_limited_since = None

    @property
    def _probe_at(self) -> float | None:
        """When the next probe is due; ``None``: there is nothing to probe with, or a probe is in flight."""
        breaker, queue = self._breaker, self._queue
        if not breaker.is_open:
            return breaker.probe_at if queue.held_failed else None
        if queue.has_unsent_change:
            return breaker.probe_unsent_at
        return breaker.probe_at if queue.held or queue.has_ready else None

    def _take(self) -> list[InFlight]:
        self._decide()
        tokens = self._bucket.available(self._now())
        if not tokens:
            return []
        if (probe_at := self._probe_at) is not None and probe_at <= self._now():
            # The held ones may be at fault themselves: an open breaker tries one that never failed, if there is any.
            probe = self._queue.take_probe(ready_first=self._breaker.is_open)
            if probe is not None:
                self._breaker.begin_probe(probe.change.reservation_id)
                return [probe]
        return self._queue.take(min(self._breaker.allows(self._queue.sending), tokens, _LOAD_LIMIT))

    async def _load(self, deliveries: list[InFlight]) -> Loaded:
        ids = [delivery.change.reservation_id for delivery in deliveries]
        with self._in_memory.loading(len(ids)):
            return await self._reservations.load(ids, ROOM_BYTES - self._large_bytes)

    async def _unchanged(self, deliveries: Sequence[InFlight], loaded: Loaded) -> Collection[InFlight]:
        """Return those of the deliveries whose body the endpoint has."""
        candidates = {
            delivery: loaded.reservations[delivery.change.reservation_id]
            for delivery in deliveries
            if delivery.may_be_unchanged and delivery.change.reservation_id in loaded.reservations
        }
        if not candidates:
            return ()
        last = await self._last_bodies.last_bodies([each.id for each in candidates.values()], self._history)
        return {delivery for delivery, each in candidates.items() if last.get(each.id) == body_hash(each.body)}

    def _start(self, delivery: InFlight, loaded: Loaded) -> None:
        reservation = loaded.reservations.get(delivery.change.reservation_id)
        if reservation is None:
            self._conclude_without_request(delivery, loaded)
            return
        self._large_bytes += _large_bytes(reservation)
        token = self._bucket.spend(self._now())
        request = asyncio.create_task(self._send(delivery, reservation, token))
        self._requests.add(request)
        request.add_done_callback(self._on_request_ended)

    def _on_request_ended(self, request: asyncio.Task[None]) -> None:
        self._requests.discard(request)
        if not request.cancelled() and (error := request.exception()) and not self.crashed.done():
            self.crashed.set_exception(error)

    async def _send(self, delivery: InFlight, reservation: Reservation, token: int) -> None:
        attempt = await self._attempt(delivery, reservation)
        self._moved_at = self._now()
        if attempt is None:
            # The lease ended before the body was written, or this process ran out of something; what was loaded may be
            # old by now.
            self._bucket.give_back(token)
            delivery.may_have_been_sent = True  # over a connection that turned out to be dead, before it was withheld
            self._breaker.cancel_probe(delivery.change.reservation_id)
            self._queue.take_back(delivery)
            return
        delivery.attempts += 1
        self._conclude(delivery, attempt)

    async def _attempt(self, delivery: InFlight, reservation: Reservation) -> Attempt | None:
        message = compose(delivery.change, reservation.subject, self._source, self._history, reservation.body)
        try:
            return await self._transport.send(message)
        finally:
            if large_bytes := _large_bytes(reservation):
                self._large_bytes -= large_bytes
                self._queue.resume_set_aside(_RESUMED_AT_ONCE)

    def _conclude_without_request(self, delivery: InFlight, loaded: Loaded) -> None:
        reservation_id = delivery.change.reservation_id
        problem = loaded.unreadable.get(reservation_id)
        if reservation_id in loaded.postponed:
            self._breaker.cancel_probe(reservation_id)
            self._queue.set_aside(delivery)
            return
        if problem is None:
            self._skip(delivery, SkipReason.FILTERED if reservation_id in loaded.filtered else SkipReason.DELETED)
            return
        failure = Failed(None, f"it cannot be loaded: {problem}")
        attempt = Attempt(None, datetime.now(UTC), 0.0, failure)
        # If others can be loaded, this one is at fault.
        if loaded.reservations or reservation_id in loaded.alone_at_fault:
            self._breaker.cancel_probe(reservation_id)
            self._note(delivery, attempt)
            self._settle(delivery, attempt)
        else:
            self._conclude(delivery, attempt)

    def _skip(self, delivery: InFlight, reason: SkipReason) -> None:
        self._breaker.cancel_probe(delivery.change.reservation_id)
        delivery.state, delivery.skip_reason = DeliveryState.SKIPPED, reason
        self._queue.settle(delivery)

    def _note(self, delivery: InFlight, attempt: Attempt) -> None:
        is_first = self._telemetry.last_hour is None
        self._telemetry.attempted(delivery, attempt, self._now())
        if is_first and self._telemetry.last_hour is not None:
            self._state_changed()  # Of a new endpoint it is reported at once whether it works.
        if delivery.keeps(attempt):
            self._queue.keep_attempt(delivery, attempt)

    def _conclude(self, delivery: InFlight, attempt: Attempt) -> None:
        self._note(delivery, attempt)
        was_failing = self._breaker.is_failing
        match attempt.outcome:
            case Delivered():
                self._settle(delivery, attempt)
                self._release_held()
            case Failed(fault=Fault.DELIVERY) as failure:
                self._conclude_rejected(delivery, attempt, failure)
            case Failed(fault=Fault.WITHDRAWN):
                # Nothing is settled and its queue stays closed: when the endpoint is resumed, it is sent again.
                if not self.withdrawn.done():
                    self.withdrawn.set_result(None)
            case Failed() as failure:
                self._hold(delivery, attempt)
                self._breaker.failed(
                    delivery.change.reservation_id,
                    failure,
                    held=self._queue.held_failed,
                    now=self._now(),
                    random=random.random(),
                )
                self._telemetry.held(delivery, attempt, self.probe_in_seconds)
        if was_failing or self._breaker.is_failing:
            self._on_state(was_failing=was_failing)

    def _conclude_rejected(self, delivery: InFlight, attempt: Attempt, failure: Failed) -> None:
        was_probe = self._breaker.is_probing(delivery.change.reservation_id)
        at_fault = self._breaker.rejected(
            delivery.change.reservation_id,
            failure,
            before=delivery.failures > 0,
            now=self._now(),
            random=random.random(),
        )
        if at_fault:
            self._settle(delivery, attempt)
        else:
            self._hold(delivery, attempt)
            if self._breaker.is_open:
                self._telemetry.held(delivery, attempt, self.probe_in_seconds)
        if was_probe and not self._breaker.is_open:
            for held in self._queue.release_held(lambda one: one is not delivery):
                self._queue.queue_again(held)

    def _decide(self) -> None:
        """Decide whose fault the rejections are that waited for a success in vain."""
        verdict_at, was_failing = self._breaker.verdict_at, self._breaker.is_failing
        if verdict_at is None or verdict_at > self._now():
            return
        if self._breaker.decide(now=self._now(), random=random.random()):
            self._on_state(was_failing=was_failing)
            return
        for held in self._queue.release_held(lambda one: one.is_rejected or one.last_attempt is None):
            self._release(held, at_fault=True)

    def _hold(self, delivery: InFlight, attempt: Attempt) -> None:
        delivery.last_attempt, delivery.attempted_at = attempt, self._now()
        self._queue.hold(delivery)

    def _release_held(self) -> None:
        """Release what is held, now that another delivery succeeded."""
        was_open = self._breaker.is_open
        self._breaker.succeeded(self._now())
        for held in self._queue.release_held():
            self._release(held, at_fault=is_at_fault(held, was_open=was_open))

    def _release(self, held: InFlight, *, at_fault: bool) -> None:
        if at_fault and held.last_attempt is not None:
            self._settle(held, held.last_attempt, self._now() - held.attempted_at)
        else:
            self._queue.queue_again(held)

    def _settle(self, delivery: InFlight, attempt: Attempt, held_seconds: float = 0.0) -> None:
        delivery.apply(attempt, random.random(), held_seconds)
        self._queue.settle(delivery)
        self._telemetry.settled(delivery, attempt)

    def _on_state(self, *, was_failing: bool) -> None:
        if self._breaker.is_failing != was_failing:
            if self._breaker.is_failing:
                self.failing_since = datetime.now(UTC)
                _log.warning("endpoint failing", endpoint=self._endpoint.name, reason=self._breaker.reason)
            else:
                self.failing_since = None
                _log.info("endpoint recovered", endpoint=self._endpoint.name)
        self._state_changed()


def _large_bytes(reservation: Reservation) -> int:
    size = len(reservation.body)
    return size if size > SMALL_BYTES else 0
