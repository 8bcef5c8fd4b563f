"""A pipeline with a scripted transport and a scripted store, and no database."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from cdc_bridge.capture.change_log import LoggedChange, Page
from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.capture.reader import Reader
from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.errors import LeaseLost, PayloadInvalid, RowsLocked, ServerReplaced, StatementFailed
from cdc_bridge.model import Change, EndpointId, History, Operation, ReservationId, Seq, Xid
from cdc_bridge.payload.loaded import ROOM_BYTES, SMALL_BYTES, Loaded, Reservation
from cdc_bridge.pipeline.in_flight import DueRetry, InFlight, KeptAttempt
from cdc_bridge.pipeline.pipeline import Pipeline
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.tasks import end
from cdc_bridge.transport.message import Message, seq_of
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault, Outcome
from tests.unit.runtime.scripted import SERVER, TILL

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
REQUEST_SECONDS = 0.01
FENCING_TOKEN = 7
HISTORY = History(3)

OK = Delivered(200)
UNAVAILABLE = Failed(503, "HTTP 503", Fault.ENDPOINT)
INVALID = Failed(422, "HTTP 422", Fault.DELIVERY)
GONE = Failed(410, "HTTP 410", Fault.WITHDRAWN)

Script = Callable[[Message], Outcome]


def change(seq: int, reservation: str = "r") -> Change:
    return Change(Seq(seq), ReservationId(reservation), Operation.UPDATED, NOW)


def position(number: int) -> Position:
    return Position(Snapshot(Xid(number), frozenset()))


class Happened:
    """Wakes whoever waits for something that the pipeline does."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def note(self) -> None:
        self._event.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._event.clear()
            await self._event.wait()


class Gate:
    """Lets pass whoever comes, unless it is shut."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.waiting = 0

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self, happened: Happened) -> None:
        self.waiting += 1
        happened.note()
        await self._open.wait()
        self.waiting -= 1


class ScriptedTransport:
    """Gives each request the outcome that its script says."""

    def __init__(self, happened: Happened) -> None:
        self._happened = happened
        self.script: Script = lambda _: OK
        self.sent: list[tuple[str, int]] = []
        """Reservation and number of each request, in order."""
        self.sent_at: list[float] = []
        """When each was sent, by the loop's clock."""
        self.under_way = self.most_under_way = 0
        self.withheld = 0
        """So many of the next requests find that the lease has ended."""
        self.on_withheld: Callable[[], None] = lambda: None
        """Called by each of these."""
        self.gate = Gate()
        self.gate_of: dict[str, Gate] = {}
        """Gates of single reservations."""

    @property
    def seqs(self) -> list[int]:
        return [seq for _, seq in self.sent]

    async def send(self, message: Message) -> Attempt | None:
        if self.withheld:
            self.withheld -= 1
            self.on_withheld()
            return None
        assert message.subject is not None
        assert message.sequence is not None
        self.sent.append((message.subject, seq_of(message.sequence)))
        self.sent_at.append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        await self.gate_of.get(message.subject, self.gate).pass_through(self._happened)
        await asyncio.sleep(REQUEST_SECONDS)
        self.under_way -= 1
        return Attempt(message.id, NOW, REQUEST_SECONDS, self.script(message))


class ScriptedStore:
    """Hands out the pages and retries that it is given, and keeps what is recorded."""

    def __init__(self, happened: Happened, reader: Reader) -> None:
        self._happened = happened
        self._reader = reader
        self._unread: deque[LoggedChange] = deque()
        self._read = 0
        self.pages_read = 0
        self.changes_read: list[Change] = []
        self.found_retrying = False
        """Whether there was a delivery to retry when it was last asked for."""
        self.retries: list[tuple[float, DueRetry]] = []
        """When each is due, by the loop's clock."""
        self.newer_unread: set[ReservationId] | None = set()
        self.loaded: list[list[ReservationId]] = []
        self.deleted: set[str] = set()
        self.filtered: set[str] = set()
        self.bodies: dict[str, str] = {}
        """Hash of what was delivered last, by the reservation."""
        self.asked_for_bodies: list[list[ReservationId]] = []
        self.unreadable: set[str] = set()
        self.body_bytes: dict[str, int] = {}
        """Size of the bodies that are not small."""
        self.vanishing: dict[str, int] = {}
        """Those that are measured and then not found, and by how many loads they are found before."""
        self.bytes_loaded: list[int] = []
        """Of the large bodies of each load, with what was in memory."""
        self.lease_lost = False
        """Whether another daemon has acquired the lease."""
        self.replaced = False
        """Whether another server serves the database."""
        self.invalid: PayloadInvalid | None = None
        """Why nothing can be loaded."""
        self.recorded: list[tuple[int, str]] = []
        """Number and state of each delivery, in order."""
        self.batches: list[list[InFlight]] = []
        self.position = 0
        self.attempts: list[KeptAttempt] = []
        self.rejected: set[int] = set()
        """Deliveries that the delivery log rejects."""
        self.rejections = 0
        self.rejects_all = False
        self.locks = False
        """Whether somebody has locked what is to be written."""
        self.tries_alone = 0
        """Whether it rejects whatever is recorded, nothing included."""
        self.recording = Gate()
        self.schedule_reads = 0
        self.reading_schedule = Gate()
        """Shut, it keeps what is read from those who read it."""

    def commit(self, *changes: Change, overtaken: bool = False, recorded: bool = False) -> None:
        """Add changes to the log."""
        for one in changes:
            self._unread.append(LoggedChange(Xid(one.seq), one, recorded=recorded, overtaken=overtaken))
        self._reader.wake()

    def retry_in(self, seconds: float, *due: DueRetry) -> None:
        """Have deliveries in the log that are due after some time."""
        at = asyncio.get_running_loop().time() + seconds
        self.retries += [(at, one) for one in due]

    @property
    def states(self) -> dict[int, str]:
        return dict(self.recorded)

    async def read_page(self, position: Position, limit: int) -> Page:
        assert position.snapshot.xmax == self._read
        page = tuple(self._unread.popleft() for _ in range(min(limit, len(self._unread))))
        self._read += len(page)
        self.changes_read += [logged.change for logged in page]
        self.pages_read += 1
        self._happened.note()
        return Page(page, Position(Snapshot(Xid(self._read), frozenset())), at_end=len(page) < limit)

    def _fail_if_replaced(self) -> None:
        if self.replaced:
            raise ServerReplaced

    def _fail_if_lost(self) -> None:
        if self.lease_lost:
            raise LeaseLost("another daemon has acquired the lease of the endpoint")

    async def with_newer_unread(self) -> set[ReservationId] | None:
        return self.newer_unread

    async def seconds_until_next_due(self, occupied: Collection[ReservationId]) -> float | None:
        now = asyncio.get_running_loop().time()
        self._fail_if_replaced()
        self.schedule_reads += 1
        pauses = [at - now for at, one in self.retries if one.change.reservation_id not in occupied]
        self.found_retrying = bool(pauses)
        await self.reading_schedule.pass_through(self._happened)
        return min(pauses, default=None)

    async def due_retries(self, occupied: Collection[ReservationId], limit: int) -> list[DueRetry]:
        now = asyncio.get_running_loop().time()
        due = [one for at, one in self.retries if at <= now and one.change.reservation_id not in occupied]
        return due[:limit]

    async def load(self, reservation_ids: Sequence[ReservationId], room_bytes: int) -> Loaded:
        self._fail_if_replaced()
        if self.invalid is not None:
            raise self.invalid
        self.loaded.append(list(reservation_ids))
        unreadable = {id_: "a cast" for id_ in reservation_ids if id_ in self.unreadable}
        found: dict[ReservationId, Reservation] = {}
        postponed = {id_ for id_ in reservation_ids if self._vanishes(id_)}
        for id_ in reservation_ids:
            size = self.body_bytes.get(id_, 2)
            if id_ in self.deleted or id_ in self.filtered or id_ in unreadable:
                continue
            if size > SMALL_BYTES and size > room_bytes < ROOM_BYTES:
                postponed.add(id_)
                continue
            room_bytes -= size if size > SMALL_BYTES else 0
            found[id_] = Reservation(id_, id_, b" " * size)
        self.bytes_loaded.append(ROOM_BYTES - room_bytes)
        filtered = frozenset(id_ for id_ in reservation_ids if id_ in self.filtered)
        if found:
            self._fail_if_lost()
        return Loaded(found, unreadable, frozenset(postponed), filtered=filtered)

    async def last_bodies(self, reservation_ids: Sequence[ReservationId], history: History) -> dict[ReservationId, str]:
        assert history == HISTORY
        self.asked_for_bodies.append(list(reservation_ids))
        return {id_: self.bodies[id_] for id_ in reservation_ids if id_ in self.bodies}

    def _vanishes(self, id_: str) -> bool:
        if id_ not in self.vanishing:
            return False
        self.vanishing[id_] -= 1
        if self.vanishing[id_] >= 0:
            return False
        del self.vanishing[id_]
        self.deleted.add(id_)
        return True

    async def record(
        self,
        deliveries: Sequence[InFlight],
        position: Position,
        attempts: Sequence[KeptAttempt] = (),
        *,
        alone: bool = False,
    ) -> None:
        await self.recording.pass_through(self._happened)
        self._fail_if_replaced()
        self._fail_if_lost()
        self.tries_alone += alone
        if self.locks:
            raise RowsLocked("somebody has locked rows of the delivery log")
        if self.rejects_all or any(delivery.change.seq in self.rejected for delivery in deliveries):
            self.rejections += 1
            self._happened.note()
            raise StatementFailed("a statement failed: too long")
        self.batches.append(list(deliveries))
        self.position = position.snapshot.xmax
        self.attempts += attempts
        for delivery in deliveries:
            self.recorded.append((delivery.change.seq, delivery.state.value))
            self.retries = [(at, one) for at, one in self.retries if one.change.seq != delivery.change.seq]
            if delivery.pause_seconds is not None:
                due = DueRetry(delivery.change, delivery.attempts, delivery.failures, overtaken=False)
                self.retry_in(delivery.pause_seconds, due)
        self._happened.note()


class ObservedPipeline(Pipeline):
    """A pipeline, and what its reader and its store have seen of it."""

    reader: Reader
    store: ScriptedStore

    @property
    def at_rest(self) -> bool:
        """Whether it has read the log to its end and is idle."""
        return self.reader.state == "idle"

    @property
    def has_retrying(self) -> bool:
        """Whether the delivery log had a delivery to retry when it was last read."""
        return self.store.found_retrying

    @property
    def oldest_in_hand(self) -> datetime | None:
        """Time of the oldest change that was read and is not recorded yet."""
        recorded = self.store.states
        return min((one.changed_at for one in self.store.changes_read if one.seq not in recorded), default=None)


class ScriptedPipeline(AbstractAsyncContextManager["ScriptedPipeline"]):
    """A pipeline that runs within the context; whatever it raised, :meth:`stop` raises."""

    def __init__(
        self, *, max_in_flight: int = 4, page_size: int = 100, rest_after_seconds: float = 1e9, **options: Any
    ) -> None:
        self.happened = Happened()
        self.reader = Reader(asyncio.Event())
        self.transport = ScriptedTransport(self.happened)
        self.store = ScriptedStore(self.happened, self.reader)
        self.registration = Registration(1, SERVER, HISTORY)
        self.registration.renew(Registration.now(), 3600)
        self.lease = Lease(EndpointId(1), FENCING_TOKEN, self.registration)
        self.state_changes = 0
        self._stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pipeline = ObservedPipeline(
            replace(TILL, max_in_flight=max_in_flight, **options),
            self.lease,
            position(0),
            caught_up=False,
            reservations=self.store,
            delivery_log=self.store,
            transport=self.transport,
            telemetry=Telemetry("till", None),
            source="/tests",
            history=HISTORY,
            page_size=page_size,
            state_changed=self._note_state,
            rest_after_seconds=rest_after_seconds,
        )
        self._page_size = page_size
        self.pipeline.reader, self.pipeline.store = self.reader, self.store
        self.finish_within_seconds = 30.0
        self._running: asyncio.Task[None] | None = None

    def _note_state(self) -> None:
        self.state_changes += 1
        self.happened.note()

    def start(self) -> asyncio.Task[None]:
        self._running = asyncio.create_task(self._run())
        self._running.add_done_callback(lambda _: self.happened.note())
        return self._running

    async def _run(self) -> None:
        reading = asyncio.create_task(self._read())
        running = asyncio.create_task(self.pipeline.run(self._stopping, self.finish_within_seconds))
        try:
            await asyncio.wait([reading, running], return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                reading.result()
            await running
        finally:
            await end([reading, running])

    async def _read(self) -> None:
        """Hand over what is committed, as the daemon's reader does."""
        pipeline, before = self.pipeline, position(0)
        while not pipeline.closed:
            if not pipeline.has_room:
                with self.reader.blocked():
                    await pipeline.until_room()
            with pipeline.reading() as meanwhile:
                page = await self.store.read_page(before, self._page_size)
                pipeline.hand_over(page, meanwhile, before, None)
            before = page.position
            if page.changes:
                self.reader.found()
            if page.at_end:
                await self.reader.until_woken()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.stop()
        elif self._running is not None:
            self._running.cancel()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the pipeline does."""
        running = self._running
        assert running is not None
        await self.happened.until(lambda: condition() or running.done())
        assert condition() or running.result() is None

    async def until_recorded(self, *seqs: int, state: str = "delivered") -> None:
        await self.until(lambda: all(self.store.states.get(seq) == state for seq in seqs))

    async def stop(self) -> None:
        """Stop it as the supervisor does, and wait for its end."""
        self.stop_soon()
        await self.ended()

    def stop_soon(self) -> None:
        """Stop it as the supervisor does."""
        if not self._stopping.done():
            self._stopping.set_result(None)

    async def ended(self) -> None:
        """Wait until it ends by itself."""
        assert self._running is not None
        await self._running
