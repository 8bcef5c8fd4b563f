"""A change reader at work, over a model of the change log, with pipelines that keep what they are handed over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cdc_bridge.capture.change_log import LoggedChange, Page
from cdc_bridge.capture.listener import Listener
from cdc_bridge.capture.position import Position
from cdc_bridge.database import Database
from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.model import EndpointId, History, ReservationId, Seq
from cdc_bridge.pipeline.in_memory import InMemory
from cdc_bridge.pipeline.queue import DeliveredMeanwhile
from cdc_bridge.pipeline.recorded_position import PageUnderWay, RecordedPosition
from cdc_bridge.pipeline.shared_position import SharedPosition
from cdc_bridge.runtime.change_reader import ChangeReader
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.tasks import end
from tests.unit.capture.model import ModelDatabase
from tests.unit.pipeline.scripted import change
from tests.unit.runtime.scripted import SERVER, TILL, ScriptedPipeline, ScriptedTransport

PAGE_SIZE = 3


class Log:
    """A change log, and what the delivery logs know."""

    def __init__(self) -> None:
        self.model = ModelDatabase(next_xid=10)
        self.reservations: dict[int, str] = {}
        self.recorded: set[tuple[int, int]] = set()
        """Endpoint and number of what the delivery logs have."""
        self.overtaken: set[tuple[int, int]] = set()
        """Those of which a newer change was delivered."""
        self.seconds: Callable[[], float] = lambda: 0.01
        """How long a statement takes."""
        self.reads: list[Position] = []
        self.asked: list[Mapping[EndpointId, list[int]]] = []
        self.may_read, self.may_tell = asyncio.Event(), asyncio.Event()
        self.may_read.set()
        self.may_tell.set()
        self.reading = self.telling = 0

    @property
    def position(self) -> Position:
        """The position that has all that is committed."""
        return Position(self.model.snapshot())

    def commit(self, *reservations: str) -> list[int]:
        """Commit a transaction that changes reservations; return the numbers."""
        xid = self.model.next_xid
        self.model.begin()
        seqs = [self.write(xid, reservation) for reservation in reservations]
        self.end(xid)
        return seqs

    def write(self, xid: int, reservation: str) -> int:
        """Have an open transaction change a reservation."""
        seq = self.model.next_seq
        self.reservations[seq] = reservation
        self.model.write(sorted(self.model.running).index(xid), 1)
        return seq

    def end(self, xid: int) -> None:
        self.model.end(sorted(self.model.running).index(xid), commit=True)

    async def read_page(self, position: Position, limit: int) -> Page:
        self.reads.append(position)
        self.reading += 1
        read, after = self.model.read(position, limit)
        await asyncio.sleep(self.seconds())
        await self.may_read.wait()
        self.reading -= 1
        changes = [LoggedChange(xid, change(seq, self.reservations[seq])) for xid, seq in read]
        return Page(tuple(sorted(changes, key=lambda one: one.change.seq)), after, at_end=len(read) < limit)

    async def known(self, changes: Mapping[EndpointId, Sequence[LoggedChange]]) -> dict[EndpointId, list[LoggedChange]]:
        self.asked.append({id_: [one.change.seq for one in each] for id_, each in changes.items()})
        found = {
            id_: [
                replace(
                    one,
                    recorded=(id_, one.change.seq) in self.recorded,
                    overtaken=(id_, one.change.seq) in self.overtaken,
                )
                for one in each
            ]
            for id_, each in changes.items()
        }
        self.telling += 1
        await asyncio.sleep(self.seconds())
        await self.may_tell.wait()
        self.telling -= 1
        return found


@dataclass
class Routes:
    endpoints: Mapping[ReservationId, Collection[EndpointId]]
    undecided: Collection[EndpointId]


class Pipeline(ScriptedPipeline):
    """Keeps what it is handed over."""

    def __init__(self, bench: Bench, leased: LeasedEndpoint) -> None:
        super().__init__(leased, lambda: None)
        self._leased = leased
        self._bench = bench
        self._room = asyncio.Event()
        self.pages = RecordedPosition(leased.position)
        self.under_way: list[PageUnderWay] = []
        self.meanwhile: list[DeliveredMeanwhile] = []
        self.reads: list[DeliveredMeanwhile] = []
        self.knows_end = False

    @property
    def is_empty(self) -> bool:
        return self.pages.first_unrecorded is None

    @is_empty.setter
    def is_empty(self, _: bool) -> None:
        pass

    @property
    def position(self) -> Position:
        return self.pages.reached()

    @position.setter
    def position(self, _: Position) -> None:
        pass

    def full(self) -> None:
        self.has_room = False
        self._room.clear()

    def make_room(self) -> None:
        self.has_room = True
        self._room.set()

    async def until_room(self) -> None:
        while not self.has_room:
            await self._room.wait()

    @contextmanager
    def reading(self) -> Iterator[DeliveredMeanwhile]:
        meanwhile = DeliveredMeanwhile()
        self.reads.append(meanwhile)
        yield meanwhile
        self.reads.remove(meanwhile)

    def hand_over(
        self, page: Page, meanwhile: DeliveredMeanwhile, before: Position, shared: PageUnderWay | None
    ) -> None:
        assert not self.closed
        assert self.has_room
        self.pages.skip_to(before)
        unrecorded = [one.change.seq for one in page.changes if not one.recorded]
        self.meanwhile.append(meanwhile)
        handed_over = self._bench.handed_over[self._leased.endpoint_id]
        assert not set(unrecorded) & set(handed_over), "handed over twice"
        handed_over += unrecorded
        self.under_way.append(self.pages.hand_over(page.position, len(unrecorded), shared))

    def caught_up(self) -> None:
        self.knows_end = True

    def has_part_of(self, page: PageUnderWay) -> bool:
        return self.pages.has_part_of(page)

    def stop_following(self) -> None:
        self.pages.leave_shared()

    def record_all(self) -> None:
        for page in self.under_way:
            while page.outstanding:
                page.recorded()


class Bench:
    """A reader at work, and its endpoints."""

    def __init__(self) -> None:
        self.log = Log()
        self.wants: dict[EndpointId, str] = {}
        self.undecided: set[EndpointId] = set()
        self.routed: list[Collection[EndpointId] | None] = []
        self.handed_over: dict[EndpointId, list[int]] = {}
        self.shared = SharedPosition()
        self.listener = Listener(Database("host=unused"), use_notify=False, poll_interval_seconds=0.5)
        self.reader = ChangeReader(self.log, self, self.listener, self.shared, InMemory(), page_size=PAGE_SIZE)
        self.work = [asyncio.create_task(work) for work in (self.reader.run(), self.listener.run())]
        self._registration = Registration(1, SERVER, History(1))

    async def route(
        self, reservation_ids: Collection[ReservationId], among: Collection[EndpointId] | None = None
    ) -> Routes:
        self.routed.append(among)
        asked = set(self.wants if among is None else among)
        await asyncio.sleep(self.log.seconds())
        return Routes(
            {id_: [each for each in asked if id_ in self.wants[each]] for id_ in reservation_ids},
            self.undecided & asked,
        )

    def lease(self, wants: str, position: Position | None = None, known_seq: int = 0) -> LeasedEndpoint:
        """Lease an endpoint that wants some reservations, from a position; default: from now on."""
        endpoint_id = EndpointId(len(self.wants) + 1)
        self.wants[endpoint_id], self.handed_over[endpoint_id] = wants, []
        return self._leased(endpoint_id, position or self.log.position, known_seq)

    def lease_again(self, endpoint_id: EndpointId, position: Position) -> LeasedEndpoint:
        """Lease an endpoint that was released, from where it was."""
        known_seq = max((seq for id_, seq in self.log.recorded if id_ == endpoint_id), default=0)
        return self._leased(endpoint_id, position, known_seq)

    def _leased(self, endpoint_id: EndpointId, position: Position, known_seq: int) -> LeasedEndpoint:
        return LeasedEndpoint(
            TILL,
            Lease(endpoint_id, 1, self._registration),
            None,
            ScriptedTransport(),
            position,
            Seq(known_seq),
            None,
            lambda leased: Pipeline(self, leased),
        )

    def pipeline(self, leased: LeasedEndpoint) -> Pipeline:
        pipeline = leased.activate()
        assert isinstance(pipeline, Pipeline)
        return pipeline

    def of(self, leased: LeasedEndpoint) -> list[int]:
        """Return the numbers of what an endpoint was handed over."""
        return self.handed_over[leased.endpoint_id]

    async def settle(self) -> None:
        """Wait until everything is handed over that can be."""
        for work in self.work:
            if work.done():
                work.result()
        await asyncio.sleep(2)

    async def stop(self) -> None:
        await self.settle()
        await end(self.work)
        assert self.listener._readers == []
        assert len(asyncio.all_tasks()) == 1
