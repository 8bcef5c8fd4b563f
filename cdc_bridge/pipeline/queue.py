"""The deliveries of one endpoint that are in flight: the only thing that the stages of the pipeline share.

    intake -> DeliveryQueue -> dispatcher -> transport -> DeliveryQueue -> recorder

**Order.** Each reservation has a queue of its own, ordered by ``seq`` whatever the order of arrival: a transaction that
began early and committed late has a low id but high numbers. One delivery of a reservation is under way at a time,
until it is *recorded*, not only sent: if the daemon were killed in between, the delivery would be repeated, and must
not come after a newer one. Different reservations do not wait for one another.

**Supersession.** A delivered change supersedes the older ones of its reservation, also one that is read later. With
``latest_only`` the newest change supersedes the older ones as soon as it is queued. Nothing is lost by that: the
numbers of one reservation's changes are in the order of their commits, so the newest one's body, loaded later, has them
all; and as long as it is not recorded itself, the position does not pass it, or the delivery log has it to be retried.
An older one whose request is in flight is not stopped, and a change that is read after a body was loaded is queued
anew: it may lead to one more request with the same content.

**Events.** A change that the endpoint does not get is settled as it is handed over. It supersedes nothing.

**Window.** What is in memory is bounded, in changes and in bytes of keys: reading pauses while more than a page would
not fit.

The events are for the stages to wait on. Nothing here waits for I/O or knows the time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from cdc_bridge.capture.change_log import PAGE_BYTES, Page
from cdc_bridge.capture.position import Position
from cdc_bridge.model import Change, DeliveryState, Events, ReservationId, Seq, SkipReason
from cdc_bridge.pipeline.in_flight import DueRetry, InFlight, KeptAttempt, Stage
from cdc_bridge.pipeline.in_memory import InMemory
from cdc_bridge.pipeline.recorded_position import PageUnderWay, RecordedPosition
from cdc_bridge.transport.outcome import Attempt

_WINDOW_BYTES = 3 * PAGE_BYTES
_MOST_ATTEMPTS = 1000
"""Those to be written. Of more, as while nothing can be recorded, the oldest are forgotten."""
_ATTEMPTS_AT_ONCE = 200


class DeliveredMeanwhile(dict[ReservationId, Seq]):
    """The last delivered change of each reservation since a read began, which the read may not know of."""

    def supersedes(self, change: Change) -> bool:
        """Return whether a newer change of the reservation was delivered."""
        return self.get(change.reservation_id, 0) > change.seq


class DeliveryQueue:
    """The deliveries in flight, from their hand-over until they are recorded."""

    def __init__(
        self,
        position: Position,
        *,
        window: int,
        page_size: int,
        latest_only: bool = False,
        events: Events = Events.BOTH,
        caught_up: bool = False,
        in_memory: InMemory | None = None,
    ) -> None:
        """Begin empty.

        Args:
            position: What is recorded already.
            window: Number of deliveries in memory at which intake waits (:attr:`has_room`); a page of retries may
                exceed it.
            page_size: Maximum number of changes, and of retries, handed over at once.
            latest_only: Whether the newest change of a reservation supersedes those that are queued.
            events: Changes that the endpoint gets.
            caught_up: Whether the log was read to its end under this lease already.
            in_memory: Counts the deliveries of all endpoints.
        """
        self._in_memory = in_memory or InMemory()
        self._window = window
        self._page_size = page_size
        self._latest_only = latest_only
        self._events = events
        self._position = RecordedPosition(position)
        self._records: dict[Seq, InFlight] = {}
        self._queues: dict[ReservationId, list[InFlight]] = {}
        self._ready: deque[ReservationId] = deque()
        self._set_aside: deque[ReservationId] = deque()
        self._held: dict[InFlight, None] = {}  # in the order in which they are probed
        self._settled: deque[InFlight] = deque()
        self._attempts: deque[KeptAttempt] = deque(maxlen=_MOST_ATTEMPTS)
        self._reads: list[DeliveredMeanwhile] = []
        self._with_newer_unread: Collection[ReservationId] | None = ()
        self._read_to_end = caught_up
        self._key_bytes = 0
        self._retries = 0
        self._retry_bytes = 0
        self.moves = 0
        """How often something was handed over or recorded."""
        self.highest_retry = Seq(0)
        """The highest number of a delivery that was handed over to be retried."""
        self.sending = 0
        """How many deliveries the dispatcher has taken and not settled or held."""
        self.dispatchable = asyncio.Event()
        """Set when there may be something to dispatch."""
        self.unrecorded = asyncio.Event()
        """Set while there is something to record."""
        self.all_recorded = asyncio.Event()
        self.all_recorded.set()
        self.schedule_changed = asyncio.Event()
        """Set when the next retry may be due earlier than expected."""
        self._recorded = asyncio.Event()

    # For intake

    @property
    def has_room(self) -> bool:
        """Whether a page of changes fits into the window."""
        if (share := self._in_memory.share) is not None and len(self._records) >= share:
            return False
        return len(self._records) <= self._window - self._page_size and self._key_bytes <= _WINDOW_BYTES - PAGE_BYTES

    @property
    def room_for_retries(self) -> int:
        """How many retries may be handed over. However many are due, new changes have the rest of the window."""
        if self._with_newer_unread is None or self._retry_bytes >= PAGE_BYTES:
            return 0
        return self._page_size - self._retries

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; checked whenever deliveries are recorded and at the end of the log."""
        while not condition():
            self._recorded.clear()
            await self._recorded.wait()

    @contextmanager
    def reading(self) -> Iterator[DeliveredMeanwhile]:
        """Note what is delivered during a read, for :meth:`hand_over` and :meth:`hand_over_due`."""
        meanwhile = DeliveredMeanwhile()
        self._reads.append(meanwhile)
        try:
            yield meanwhile
        finally:
            # Not remove(): two reads that saw the same are equal, and it would take out the other one.
            self._reads = [other for other in self._reads if other is not meanwhile]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in flight."""
        return not self._records

    @property
    def changes(self) -> int:
        """How many deliveries are in flight that are no retries."""
        return len(self._records) - self._retries

    def hand_over(
        self,
        page: Page,
        meanwhile: DeliveredMeanwhile,
        before: Position | None = None,
        shared: PageUnderWay | None = None,
    ) -> None:
        """Add the changes of a page that are not recorded yet.

        Args:
            page: Those of its changes that are for this endpoint.
            meanwhile: What was delivered since it was read.
            before: The position before it, where pages without such changes are left out; ``None``: none are.
            shared: The page that it is a part of.

        Raises:
            RuntimeError: A change is in flight already: the position went back. It is better to crash and start anew
                from the delivery log than to block its reservation for good.
        """
        self.moves += 1
        unrecorded = [logged for logged in page.changes if not logged.recorded]
        if twice := [logged.change.seq for logged in unrecorded if logged.change.seq in self._records]:
            raise RuntimeError(f"handed over twice: {twice}")
        if before is not None:
            self._position.skip_to(before)
        under_way = self._position.hand_over(page.position, len(unrecorded), shared)
        for logged in unrecorded:
            # What was in the log at the start may have been sent by a daemon that died before it recorded that.
            delivery = InFlight(logged.change, page=under_way, may_have_been_sent=not self._read_to_end)
            if self._events.includes(logged.change.operation):
                self._add(delivery, superseded=logged.overtaken or meanwhile.supersedes(logged.change))
            else:
                self._skip_event(delivery)
        if page.changes and not unrecorded:
            self._note_unrecorded()  # Else the position would stay in front of a page without deliveries.
        if page.at_end:
            self.caught_up()

    def caught_up(self) -> None:
        """Note that the log was read to its end once under this lease."""
        if not self._read_to_end:
            self._read_to_end = True
            self._with_newer_unread = ()
            self.schedule_changed.set()
            self._recorded.set()

    def hold_back_retries(self, with_newer_unread: Collection[ReservationId] | None) -> None:
        """Hand over no retry of some reservations, or of any (``None``), until the log was read to its end once.

        A daemon that died may have sent a change and not recorded it. That one is sent again, and nothing older of its
        reservation may be sent before it.
        """
        if not self._read_to_end:
            self._with_newer_unread = with_newer_unread

    def occupied(self) -> set[ReservationId]:
        """Return the reservations of which no retry may be handed over."""
        return {record.change.reservation_id for record in self._records.values()}.union(self._with_newer_unread or ())

    def hand_over_due(self, due: Iterable[DueRetry], meanwhile: DeliveredMeanwhile) -> None:
        """Add retries that are due."""
        self.moves += 1
        occupied = self.occupied()
        for found in due:
            if found.change.reservation_id in occupied:
                continue  # It, or a newer change of its reservation, was handed over during the read.
            self._retries += 1
            self.highest_retry = max(self.highest_retry, found.change.seq)
            self._retry_bytes += found.change.key_bytes
            superseded = found.overtaken or meanwhile.supersedes(found.change)
            self._add(InFlight(found.change, found.attempts, found.failures), superseded=superseded)

    # For the dispatcher

    @property
    def has_ready(self) -> bool:
        """Whether there is a delivery that may be taken."""
        return bool(self._ready)

    @property
    def has_unsent_change(self) -> bool:
        """Whether there is a change among those that may be taken that was never sent."""
        return any(self._queues[reservation_id][0].is_unsent_change for reservation_id in self._ready)

    @property
    def held(self) -> int:
        """How many deliveries are held."""
        return len(self._held)

    @property
    def held_failed(self) -> int:
        """How many deliveries are held that were not rejected."""
        return sum(not delivery.is_rejected for delivery in self._held)

    def take(self, limit: int) -> list[InFlight]:
        """Take the next delivery of each of up to ``limit`` reservations."""
        return [self._take_first(self._ready.popleft()) for _ in range(min(limit, len(self._ready)))]

    def take_probe(self, *, ready_first: bool) -> InFlight | None:
        """Take one delivery for a probe, if there is any; one that was not at fault before, if there is any.

        Args:
            ready_first: Whether one that never failed is preferred to those that are held, and whether what was
                rejected may be a probe.
        """
        ready = [self._queues[reservation_id][0] for reservation_id in self._ready] if ready_first else []
        held = [delivery for delivery in self._held if ready_first or not delivery.is_rejected]
        probe = min(
            (*ready, *held),
            key=lambda one: (one.failures > 0, one.stage is Stage.HELD, not one.is_unsent_change),
            default=None,
        )
        if probe is None:
            return None
        if probe.stage is Stage.HELD:
            del self._held[probe]
        else:
            self._ready.remove(probe.change.reservation_id)
        return self._send(probe)

    def hold(self, delivery: InFlight) -> None:
        """Hold a delivery that was taken, with all of its reservation, behind those that are held already."""
        self._end_sending()
        delivery.stage = Stage.HELD
        if self._latest_only and (newer := self._queues[delivery.change.reservation_id][-1]) is not delivery:
            self._take_place(delivery, newer)
        else:
            self._held[delivery] = None

    def release_held(self, which: Callable[[InFlight], bool] = lambda _: True) -> list[InFlight]:
        """Return what is held, or some of it, each to be either queued again or settled."""
        released = [delivery for delivery in self._held if which(delivery)]
        for delivery in released:
            del self._held[delivery]
        return released

    def queue_again(self, delivery: InFlight) -> None:
        """Queue a delivery that was held, behind those that never failed."""
        delivery.stage = Stage.QUEUED
        self._make_ready(delivery.change.reservation_id)

    def take_back(self, delivery: InFlight) -> None:
        """Queue a delivery that was taken and not sent, in front of all others."""
        self._end_sending()
        delivery.stage = Stage.QUEUED
        self._ready.appendleft(delivery.change.reservation_id)

    def set_aside(self, delivery: InFlight) -> None:
        """Take back a delivery that was taken, with all of its reservation, until :meth:`resume_set_aside`."""
        self._end_sending()
        delivery.stage = Stage.QUEUED
        self._set_aside.append(delivery.change.reservation_id)

    def resume_set_aside(self, limit: int) -> None:
        """Let up to ``limit`` of the reservations that were set aside be taken again."""
        for _ in range(min(limit, len(self._set_aside))):
            self._make_ready(self._set_aside.popleft())

    def keep_attempt(self, delivery: InFlight, attempt: Attempt) -> None:
        """Have an attempt of a delivery kept, whatever becomes of the delivery."""
        self._attempts.append(KeptAttempt(delivery.change, delivery.attempts, attempt))
        self._note_unrecorded()

    def settle(self, delivery: InFlight) -> None:
        """Have a delivery recorded in its state."""
        if delivery.stage is Stage.SENDING:
            self.sending -= 1
            if self._ready or self._held or self._set_aside:  # Else there is nothing to send in its place.
                self.dispatchable.set()
        delivery.stage = Stage.SETTLED
        self._settled.append(delivery)
        self._note_unrecorded()
        if delivery.state is DeliveryState.DELIVERED:
            self._supersede_older(delivery)

    # For the recorder

    def next_batch(self, limit: int) -> list[InFlight]:
        """Return the deliveries to record next, at most ``limit``, and no more than is read at once."""
        batch: list[InFlight] = []
        key_bytes = 0
        while self._settled and len(batch) < limit and key_bytes < PAGE_BYTES:
            batch.append(self._settled.popleft())
            key_bytes += batch[-1].change.key_bytes
        if not self._settled and len(self._attempts) <= _ATTEMPTS_AT_ONCE:
            self.unrecorded.clear()
        return batch

    def next_attempts(self) -> list[KeptAttempt]:
        """Return the attempts to write next; they stay until :meth:`attempts_kept`."""
        return list(islice(self._attempts, _ATTEMPTS_AT_ONCE))

    def attempts_kept(self, attempts: Iterable[KeptAttempt]) -> None:
        """Forget attempts that are written."""
        for attempt in attempts:
            if self._attempts and self._attempts[0] is attempt:  # or it was forgotten for a newer one
                self._attempts.popleft()

    @property
    def position(self) -> Position:
        """The position up to which everything is recorded."""
        return self._position.reached()

    def has_part_of(self, page: PageUnderWay) -> bool:
        """Return whether some of a page of all endpoints is in flight here."""
        return self._position.has_part_of(page)

    def drop(self) -> None:
        """Note that what is in memory is given up."""
        self._in_memory.count(-len(self._records))

    def stop_following(self) -> None:
        """Have the daemon's position no longer wait for what is in flight here."""
        self._position.leave_shared()

    def position_with(self, batch: Iterable[InFlight]) -> Position:
        """Return the position up to which everything is recorded once some more deliveries are."""
        return self._position.once_recorded(delivery.page for delivery in batch if delivery.page is not None)

    def recorded(self, batch: Sequence[InFlight]) -> None:
        """Forget deliveries that are recorded, and let the next ones of their reservations be taken."""
        self.moves += 1
        self._in_memory.count(-len(batch))
        for delivery in batch:
            del self._records[delivery.change.seq]
            self._key_bytes -= delivery.change.key_bytes
            if delivery.page is None:
                self._retries -= 1
                self._retry_bytes -= delivery.change.key_bytes
            else:
                delivery.page.recorded()
            if delivery.state is not DeliveryState.SUPERSEDED and delivery.skip_reason is not SkipReason.EVENT:
                self._leave(delivery)
            if delivery.state.is_pending:
                self.schedule_changed.set()
        self._position.reached()
        self._recorded.set()
        if not self.unrecorded.is_set():
            self.all_recorded.set()

    def _skip_event(self, delivery: InFlight) -> None:
        self._keep(delivery)
        delivery.state, delivery.skip_reason = DeliveryState.SKIPPED, SkipReason.EVENT
        self.settle(delivery)

    def _keep(self, delivery: InFlight) -> None:
        self._records[delivery.change.seq] = delivery
        self._in_memory.count(1)
        self._key_bytes += delivery.change.key_bytes

    def _add(self, delivery: InFlight, *, superseded: bool) -> None:
        change = delivery.change
        self._keep(delivery)
        queue = self._queues.get(change.reservation_id)
        if superseded or (queue is not None and self._is_superseded_in(queue, delivery)):
            self._supersede(delivery, by=None if queue is None else queue[-1])
        elif queue is None:
            self._queues[change.reservation_id] = [delivery]
            self._make_ready(change.reservation_id)
        elif self._latest_only:
            self._supersede_queued(queue, delivery)
        else:
            _insert(queue, delivery)

    def _is_superseded_in(self, queue: list[InFlight], delivery: InFlight) -> bool:
        seq = delivery.change.seq
        if queue[-1].change.seq < seq:
            return False
        return self._latest_only or any(
            other.state is DeliveryState.DELIVERED for other in queue if other.change.seq > seq
        )

    def _supersede_queued(self, queue: list[InFlight], newest: InFlight) -> None:
        queue.append(newest)
        older = queue[0]  # There is one queued or held at most, and perhaps one in front of it that is under way.
        if older.stage is Stage.HELD:
            del self._held[older]
            self._take_place(older, newest)
            return
        for other in queue[:-1]:
            if other.stage is Stage.QUEUED:
                queue.remove(other)
                self._supersede(other, by=newest)

    def _take_place(self, held: InFlight, newest: InFlight) -> None:
        """Hold the newest change of a reservation in place of an older one, which it supersedes."""
        newest.stage, newest.suspected = Stage.HELD, held.suspected
        self._held[newest] = None
        self._queues[held.change.reservation_id].remove(held)
        self._supersede(held, by=newest)

    def _supersede_older(self, delivered: InFlight) -> None:
        queue = self._queues[delivered.change.reservation_id]
        if len(queue) > 1:
            for other in queue[: queue.index(delivered)]:
                queue.remove(other)
                self._supersede(other, by=delivered)

    def _supersede(self, delivery: InFlight, *, by: InFlight | None) -> None:
        if by is not None and not delivery.may_be_unchanged:
            by.may_have_been_sent = True  # or is sent in place of what somebody queued
        delivery.state = DeliveryState.SUPERSEDED
        self.settle(delivery)

    def _take_first(self, reservation_id: ReservationId) -> InFlight:
        return self._send(self._queues[reservation_id][0])

    def _send(self, delivery: InFlight) -> InFlight:
        delivery.stage = Stage.SENDING
        self.sending += 1
        return delivery

    def _end_sending(self) -> None:
        self.sending -= 1
        self.dispatchable.set()

    def _leave(self, delivery: InFlight) -> None:
        reservation_id = delivery.change.reservation_id
        if delivery.state is DeliveryState.DELIVERED:
            for meanwhile in self._reads:
                meanwhile[reservation_id] = delivery.change.seq
        queue = self._queues[reservation_id]
        queue.remove(delivery)
        if queue:
            self._make_ready(reservation_id)
        else:
            del self._queues[reservation_id]

    def _make_ready(self, reservation_id: ReservationId) -> None:
        self._ready.append(reservation_id)
        self.dispatchable.set()

    def _note_unrecorded(self) -> None:
        self.unrecorded.set()
        self.all_recorded.clear()


def _insert(queue: list[InFlight], delivery: InFlight) -> None:
    """Insert a delivery behind those of its reservation with lower numbers: nearly always at the end."""
    index = len(queue)
    while index and queue[index - 1].change.seq > delivery.change.seq:
        index -= 1
    queue.insert(index, delivery)
