"""Each change is handed over once to each endpoint that wants it, whatever happens while the log is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from cdc_bridge.capture.change_log import Page
from cdc_bridge.capture.position import Position
from cdc_bridge.model import EndpointId, Seq
from cdc_bridge.pipeline.queue import DeliveredMeanwhile
from cdc_bridge.pipeline.recorded_position import PageUnderWay
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from tests.support.length import chosen
from tests.unit.pipeline.virtual_time import in_virtual_time
from tests.unit.runtime.reading import Bench, Pipeline

SEEDS = chosen(60, 2000)


class DeliveringPipeline(Pipeline):
    """Records what it is handed over, some time, in any order."""

    def __init__(self, world: World, leased: LeasedEndpoint) -> None:
        super().__init__(world.bench, leased)
        self._world = world
        self._in_flight: dict[int, PageUnderWay] = {}

    def hand_over(
        self, page: Page, meanwhile: DeliveredMeanwhile, before: Position, shared: PageUnderWay | None
    ) -> None:
        super().hand_over(page, meanwhile, before, shared)
        for logged in page.changes:
            if not logged.recorded:
                newest = self._world.delivered.get((self._leased.endpoint_id, logged.change.reservation_id), 0)
                assert logged.change.seq > newest or logged.overtaken or meanwhile.supersedes(logged.change)
                self._in_flight[logged.change.seq] = self.under_way[-1]

    def record_one(self) -> None:
        """Record a delivery, unless a newer one of its reservation has to be first."""
        if not self._in_flight:
            return
        seq = self._world.chance.choice(list(self._in_flight))
        endpoint_id, reservation = self._leased.endpoint_id, self._bench.log.reservations[seq]
        self._in_flight.pop(seq).recorded()
        self.under_way = [page for page in self.under_way if page.outstanding]
        self._bench.log.recorded.add((endpoint_id, seq))
        key = endpoint_id, reservation
        if seq > self._world.delivered.get(key, 0):
            self._world.delivered[key] = seq
            for meanwhile in self.reads:
                meanwhile[reservation] = Seq(max(seq, meanwhile.get(reservation, 0)))  # type: ignore[index, call-overload]

    @property
    def is_idle(self) -> bool:
        return not self._in_flight


class World:
    """Those who write, and endpoints that come and go."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.bench = Bench()
        self.bench.log.seconds = lambda: self.chance.choice([0.0, 0.001, 0.02]) * self.chance.random()
        self.bench.log.overtaken = Overtaken(self)  # type: ignore[assignment]
        self.delivered: dict[tuple[EndpointId, str], int] = {}
        """The highest number that was delivered, by endpoint and reservation."""
        self.leased: dict[EndpointId, LeasedEndpoint] = {}
        self.released: dict[EndpointId, Position] = {}
        self.since: dict[EndpointId, Position] = {}
        """The position that each endpoint was first leased from."""
        for wants in ("abc", "a", "b", "ac", ""):
            self._begin_lease(self.bench.lease(wants))

    def _begin_lease(self, leased: LeasedEndpoint) -> None:
        leased.open_pipeline = lambda leased: DeliveringPipeline(self, leased)
        self.leased[leased.endpoint_id] = leased
        self.since.setdefault(leased.endpoint_id, leased.position)
        self.bench.handed_over[leased.endpoint_id] = []
        self.bench.reader.add([leased])

    async def live(self, steps: int) -> None:
        log = self.bench.log
        weights = {
            log.model.begin: 6,
            self._write: 14,
            self._end_transaction: 7,
            self._record: 30,
            self._change_room: 8,
            self._leave: 1,
            self._come_back: 2,
            self._come_new: 1,
            self._change_pace: 2,
            self._decide: 1,
            self._wake: 8,
            self._rest: 2,
        }
        for _ in range(steps):
            await asyncio.sleep(self.chance.choice([0.0, 0.0, 0.002, 0.03]) * self.chance.random())
            (step,) = self.chance.choices(list(weights), list(weights.values()))
            step()
            for work in self.bench.work:
                if work.done():
                    work.result()

    def _write(self) -> None:
        log = self.bench.log
        if log.model.running:
            log.write(self.chance.choice(list(log.model.running)), self.chance.choice("abcd"))

    def _end_transaction(self) -> None:
        log = self.bench.log
        if log.model.running:
            log.end(self.chance.choice(list(log.model.running)))

    def _wake(self) -> None:
        self.bench.listener._wake_readers()

    def _pipelines(self) -> Iterator[DeliveringPipeline]:
        for leased in self.leased.values():
            if isinstance(leased.pipeline, DeliveringPipeline):
                yield leased.pipeline

    def _record(self) -> None:
        for pipeline in self._pipelines():
            pipeline.record_one()

    def _change_room(self) -> None:
        for pipeline in self._pipelines():
            if self.chance.random() < 0.4:
                pipeline.make_room() if self.chance.random() < 0.6 else pipeline.full()

    def _rest(self) -> None:
        """Have pipelines end that have nothing to do."""
        for leased in self.leased.values():
            pipeline = leased.pipeline
            if isinstance(pipeline, DeliveringPipeline) and pipeline.is_idle and pipeline.has_room:
                pipeline.closed = True
                if self.chance.random() < 0.5:
                    leased.ended(pipeline)

    def _leave(self) -> None:
        if self.leased:
            leased = self.leased.pop(self.chance.choice(list(self.leased)))
            leased.stopping = True
            self.bench.reader.leave(leased)
            self.released[leased.endpoint_id] = leased.recorded_position
            self.bench.reader.forget(leased)

    def _come_back(self) -> None:
        if self.released:
            endpoint_id = self.chance.choice(list(self.released))
            again = self.bench.lease_again(endpoint_id, self.released.pop(endpoint_id))
            self._begin_lease(again)

    def _come_new(self) -> None:
        if len(self.since) < 12:
            position = self.chance.choice([None, *self.since.values(), *self.released.values()])
            self._begin_lease(self.bench.lease(self.chance.choice(["abc", "b", "cd"]), position))

    def _change_pace(self) -> None:
        self.bench.log.may_read.set() if self.chance.random() < 0.7 else self.bench.log.may_read.clear()

    def _decide(self) -> None:
        self.bench.undecided = {id_ for id_ in self.bench.wants if self.chance.random() < 0.1}

    async def finish(self) -> None:
        bench = self.bench
        bench.log.may_read.set()
        bench.undecided = set()
        while bench.log.model.running:
            self._end_transaction()
        while self.released:
            self._come_back()
        for _ in range(600):
            for pipeline in self._pipelines():
                pipeline.make_room()
            for _ in range(3):
                self._record()
            await asyncio.sleep(0.02)
        for endpoint_id, leased in self.leased.items():
            assert leased.is_following
            wanted = {
                seq
                for xid, seq in bench.log.model.visible()
                if bench.log.reservations[seq] in bench.wants[endpoint_id] and not self.since[endpoint_id].has(xid, seq)
            }
            recorded = {seq for id_, seq in bench.log.recorded if id_ == endpoint_id}
            assert wanted <= recorded
            assert leased.recorded_position.snapshot.xmax <= bench.log.model.next_xid
        assert not bench.reader._ahead
        await bench.stop()


class Overtaken:
    """The changes of which a newer one was delivered."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __contains__(self, change: tuple[EndpointId, int]) -> bool:
        endpoint_id, seq = change
        reservation = self._world.bench.log.reservations[seq]
        return self._world.delivered.get((endpoint_id, reservation), 0) > seq


@pytest.mark.parametrize("seed", range(SEEDS))
@in_virtual_time
async def test_each_change_is_handed_over_once_in_a_lease_and_none_after_a_newer_one(seed: int) -> None:
    world = World(seed)
    await world.live(steps=world.chance.choice([50, 200, 500]))
    await world.finish()
