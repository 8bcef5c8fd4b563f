"""The queue beside a model of both logs: stages that interleave at random, and a daemon that is killed at random.

Each stage is a generator that yields wherever the real one awaits: there others go on, or the daemon is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from cdc_bridge.capture.change_log import LoggedChange, Page
from cdc_bridge.capture.position import Position
from cdc_bridge.model import Change, DeliveryState, ReservationId, Seq, Xid
from cdc_bridge.pipeline.in_flight import DueRetry, InFlight
from cdc_bridge.pipeline.queue import DeliveryQueue
from tests.support.length import chosen
from tests.unit.pipeline.scripted import change, position

PAGE_SIZE = 4
SEEDS = chosen(600, 20_000)
DELIVERED, RETRYING, DEAD, QUEUED, SUPERSEDED = (
    DeliveryState.DELIVERED,
    DeliveryState.RETRYING,
    DeliveryState.DEAD,
    DeliveryState.QUEUED,
    DeliveryState.SUPERSEDED,
)


@dataclass
class Row:
    """A delivery in the delivery log."""

    change: Change
    state: DeliveryState
    due: bool


class Database:
    """The change log and the delivery log, as the SQL reads and writes them."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.newest: dict[ReservationId, Seq] = {}
        self.rows: dict[Seq, Row] = {}
        self.position = 0
        self._log: list[tuple[float, Change]] = []
        """Changes with their place in the order of reading, in which a number says nothing."""
        self._covered: list[frozenset[Seq]] = [frozenset()]
        """The changes that each position covers."""

    def commit(self, reservation: str) -> None:
        made = change(len(self._log) + 1, reservation)
        self.newest[made.reservation_id] = made.seq
        self._log.append((self._chance.random(), made))

    def unread(self, at: int) -> list[Change]:
        return [one for _, one in sorted(self._log, key=lambda logged: logged[0]) if one.seq not in self._covered[at]]

    def read_page(self, after: Position) -> Page:
        at = after.snapshot.xmax
        read = self.unread(at)[:PAGE_SIZE]
        self._covered.append(self._covered[at] | {one.seq for one in read})
        logged = [
            LoggedChange(Xid(one.seq), one, recorded=one.seq in self.rows, overtaken=self._is_overtaken(one))
            for one in sorted(read, key=lambda one: one.seq)
        ]
        return Page(tuple(logged), position(len(self._covered) - 1), at_end=len(read) < PAGE_SIZE)

    def due_retries(self, occupied: Collection[ReservationId], limit: int) -> list[DueRetry]:
        due = [row.change for row in self.rows.values() if row.due and row.change.reservation_id not in occupied]
        return [DueRetry(one, 0, 0, self._is_overtaken(one)) for one in due[:limit]]

    def with_newer_unread(self) -> set[ReservationId]:
        unread = {one.reservation_id: one.seq for one in sorted(self.unread(self.position), key=lambda one: one.seq)}
        due = [row.change for row in self.rows.values() if row.due]
        return {one.reservation_id for one in due if unread.get(one.reservation_id, 0) > one.seq}

    def record(self, batch: Sequence[InFlight], reached: Position) -> None:
        for delivery in batch:
            state = delivery.state
            self.rows[delivery.change.seq] = Row(delivery.change, state, due=state is RETRYING)
        for delivery in batch:
            for row in self._rows_of(delivery.change.reservation_id):
                if row.change.seq < delivery.change.seq and row.state.is_pending:
                    row.state = SUPERSEDED if delivery.state is DELIVERED else delivery.state
                    row.due = False
        self.position = reached.snapshot.xmax

    def retry_by_hand(self) -> None:
        """Have the newest delivery of a reservation sent again, as an operator may."""
        unrecorded = {one.reservation_id for one in self.unread(self.position) if one.seq not in self.rows}
        for reservation_id in self.newest.keys() - unrecorded:
            row = self._rows_of(reservation_id)[-1]
            if row.state in {DEAD, DELIVERED}:
                row.state, row.due = QUEUED, True

    def state_of(self, seq: Seq) -> DeliveryState | None:
        """Return the state of a delivery; ``None``: the change will be read."""
        row = self.rows.get(seq)
        assert row is not None or seq not in self._covered[self.position], f"change {seq} is lost"
        return None if row is None else row.state

    def delivered(self, reservation_id: ReservationId) -> int:
        """Return the number of the newest change recorded as delivered."""
        rows = self._rows_of(reservation_id)
        return max((row.change.seq for row in rows if row.state is DELIVERED), default=0)

    def _rows_of(self, reservation_id: ReservationId) -> list[Row]:
        rows = [row for row in self.rows.values() if row.change.reservation_id == reservation_id]
        return sorted(rows, key=lambda row: row.change.seq)

    def _is_overtaken(self, one: Change) -> bool:
        rows = self._rows_of(one.reservation_id)
        return any(row.change.seq > one.seq and row.state in {DELIVERED, SUPERSEDED} for row in rows)


class Endpoint:
    """Notes the newest version of each reservation that it received, and the highest number of a change."""

    def __init__(self) -> None:
        self.versions: dict[ReservationId, Seq] = {}
        self.numbers: dict[ReservationId, Seq] = {}

    def receive(self, sent: Change, version: Seq) -> None:
        reservation_id = sent.reservation_id
        assert version >= self.versions.get(reservation_id, 0), f"{reservation_id} went back to {version}"
        self.versions[reservation_id] = version
        self.numbers[reservation_id] = max(sent.seq, self.numbers.get(reservation_id, sent.seq))


class Daemon:
    """The stages around a queue, from the start of a daemon until it is killed."""

    def __init__(self, database: Database, endpoint: Endpoint, chance: Random, *, latest_only: bool) -> None:
        self._database = database
        self._endpoint = endpoint
        self._chance = chance
        self._begin_at = position(database.position)
        self.queue = DeliveryQueue(self._begin_at, window=3 * PAGE_SIZE, page_size=PAGE_SIZE, latest_only=latest_only)
        self._requests: list[tuple[InFlight, Seq]] = []
        """Deliveries with the version of the reservation that was loaded."""
        self.intake = self._intake()
        self.retry_intake = self._retry_intake()
        self.recorder = self._recorder()

    def _intake(self) -> Iterator[None]:
        reached = self._begin_at
        while True:
            if self.queue.has_room:
                with self.queue.reading() as meanwhile:
                    page = self._database.read_page(reached)
                    yield
                    self.queue.hand_over(page, meanwhile)
                reached = page.position
            yield

    def _retry_intake(self) -> Iterator[None]:
        newer_unread = self._database.with_newer_unread()
        yield
        self.queue.hold_back_retries(newer_unread)
        while True:
            if self.queue.room_for_retries > 0:
                with self.queue.reading() as meanwhile:
                    due = self._database.due_retries(self.queue.occupied(), self.queue.room_for_retries)
                    yield
                    self.queue.hand_over_due(due, meanwhile)
            yield

    def _recorder(self) -> Iterator[None]:
        while True:
            if self.queue.unrecorded.is_set():
                batch = self.queue.next_batch(self._chance.randint(1, 3))
                reached = self.queue.position_with(batch)
                yield
                self._database.record(batch, reached)
                yield
                self.queue.recorded(batch)
            yield

    def send(self) -> None:
        for delivery in self.queue.take(1):
            self._load(delivery)

    def probe(self) -> None:
        if probe := self.queue.take_probe(ready_first=self._chance.random() < 0.5):
            self._load(probe)

    def _load(self, delivery: InFlight) -> None:
        sent = delivery.change
        assert sent.seq >= self._database.delivered(sent.reservation_id), f"{sent.seq} is sent after a newer change"
        if delivery.page is None:  # Also after one that a daemon which was killed had sent, and will be sent again.
            assert sent.seq >= self._endpoint.numbers.get(sent.reservation_id, 0), f"{sent.seq} is retried too early"
        self._requests.append((delivery, self._database.newest[sent.reservation_id]))

    def fail(self) -> None:
        """End a request, if there is one, without 2xx."""
        if self._requests:
            delivery, _ = self._pop_request()
            state = self._chance.choice([None, RETRYING, DEAD])
            if state is None:
                self.queue.hold(delivery)
            else:
                self._settle(delivery, state)

    def deliver(self) -> None:
        if self._requests:
            delivery, version = self._pop_request()
            self._endpoint.receive(delivery.change, version)
            self._settle(delivery, DELIVERED)

    def deliver_unnoticed(self) -> None:
        """Have the endpoint receive a request whose response does not come before the daemon is killed."""
        for delivery, version in self._requests:
            self._endpoint.receive(delivery.change, version)

    def release_held(self) -> None:
        for held in self.queue.release_held():
            if self._chance.random() < 0.3:
                self._settle(held, RETRYING)
            else:
                self.queue.queue_again(held)

    def _pop_request(self) -> tuple[InFlight, Seq]:
        return self._requests.pop(self._chance.randrange(len(self._requests)))

    def _settle(self, delivery: InFlight, state: DeliveryState) -> None:
        delivery.state = state
        self.queue.settle(delivery)


class World:
    """The logs, the endpoint, and one daemon after another."""

    def __init__(self, seed: int, *, latest_only: bool) -> None:
        self.chance = Random(seed)
        self._latest_only = latest_only
        self._paces = self.chance.choices([0.1, 1, 1, 1], k=11)
        """How often each step is taken in this world, beside the average."""
        self.database = Database(self.chance)
        self.endpoint = Endpoint()
        self.daemon = self._start()

    def _start(self) -> Daemon:
        return Daemon(self.database, self.endpoint, self.chance, latest_only=self._latest_only)

    def step(self) -> None:
        daemon = self.daemon
        steps: dict[Callable[[], object], int] = {
            self._commit: 5,
            daemon.intake.__next__: 12,
            daemon.retry_intake.__next__: 10,
            daemon.recorder.__next__: 18,
            daemon.send: 12,
            daemon.deliver: 10,
            daemon.fail: 10,
            daemon.probe: 4,
            daemon.release_held: 4,
            self.database.retry_by_hand: 3,
            self._kill: 1,
        }
        weights = [weight * pace for weight, pace in zip(steps.values(), self._paces, strict=True)]
        (step,) = self.chance.choices(list(steps), weights)
        step()

    def _commit(self) -> None:
        self.database.commit(self.chance.choice("abc"))

    def _kill(self) -> None:
        if self.chance.random() < 0.5:
            self.daemon.deliver_unnoticed()
        self.daemon = self._start()

    def check_that_nothing_is_lost(self) -> None:
        """Check that, if the daemon is killed now, the next one knows of each change that has not arrived."""
        for reservation_id, seq in self.database.newest.items():
            if self.endpoint.versions.get(reservation_id, 0) < seq:
                state = self.database.state_of(seq)
                assert state in {None, DEAD} or self.database.rows[seq].due, f"{seq} is {state}, and never sent again"

    def finish(self) -> None:
        """Let all that is left arrive at an endpoint that works."""
        database, daemon = self.database, self.daemon
        for _ in range(2000):
            for stage in (daemon.intake, daemon.retry_intake, daemon.recorder):
                next(stage)
            daemon.send()
            daemon.probe()
            daemon.deliver()
            for held in daemon.queue.release_held():
                daemon.queue.queue_again(held)
            unread, due = database.unread(database.position), [row for row in database.rows.values() if row.due]
            if not (daemon.queue._records or unread or due):
                break
        else:
            pytest.fail("it never comes to an end")
        queue = daemon.queue
        assert (queue.sending, queue.held, queue.has_ready, queue._queues) == (0, 0, False, {})
        assert queue.room_for_retries == PAGE_SIZE
        for reservation_id, seq in database.newest.items():
            assert self.endpoint.versions.get(reservation_id) == seq or database.state_of(seq) is DEAD


@pytest.mark.parametrize("latest_only", [False, True])
def test_nothing_is_lost_or_goes_back_in_time_wherever_the_daemon_is_killed(latest_only: bool) -> None:  # noqa: FBT001 - parametrized
    for seed in range(SEEDS):
        print("seed", seed)
        world = World(seed, latest_only=latest_only)
        for _ in range(world.chance.randint(20, 300)):
            world.step()
            world.check_that_nothing_is_lost()
        world.finish()
