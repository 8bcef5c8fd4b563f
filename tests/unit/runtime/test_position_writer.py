"""When endpoints begin to follow the daemon's position, and when they stop to."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from cdc_bridge.capture.position import Position
from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.errors import StatementFailed
from cdc_bridge.model import EndpointId, History, Seq
from cdc_bridge.pipeline.delivery_log_writer import Moves
from cdc_bridge.pipeline.recorded_position import PageUnderWay, RecordedPosition
from cdc_bridge.pipeline.shared_position import SharedPosition
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.runtime.position_writer import PositionWriter
from tests.unit.pipeline.scripted import position
from tests.unit.runtime.scripted import SERVER, TILL, ScriptedPipeline, ScriptedTransport


class Log:
    """Writes moves, as often as it has to."""

    def __init__(self, shared: SharedPosition) -> None:
        self._shared = shared
        self.position: Position | None = None
        self.following: set[EndpointId] = set()
        self.own: dict[EndpointId, Position] = {}
        self.writes = 0
        self.rejections = 0
        """How often what is written together with the moves is rejected."""
        self.failure: Exception | None = None
        self.locked: set[EndpointId] = set()
        """Endpoints whose rows somebody has locked."""
        self.during: Callable[[], None] = lambda: None
        """Called while it is written."""

    async def move(self, moves: Callable[[], Moves]) -> Collection[EndpointId]:
        for _ in range(self.rejections + 1):
            move = moves()
            self.during()
        if self.failure is not None:
            raise self.failure
        self.writes += 1
        if (moved := self._shared.next()) is not None:
            self.position = moved
            self._shared.written(moved)
        own = {lease.endpoint_id: position for lease, position in move.leave if lease.endpoint_id not in self.locked}
        follow = {lease.endpoint_id for lease in move.follow} - self.locked
        self.own |= own
        self.following = (self.following - own.keys()) | follow
        return own.keys() | follow


class Pipeline(ScriptedPipeline):
    """Has pages under way, as the queue has."""

    def __init__(self, leased: LeasedEndpoint) -> None:
        super().__init__(leased, lambda: None)
        self.pages = RecordedPosition(leased.position)

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

    def has_part_of(self, page: PageUnderWay) -> bool:
        return self.pages.has_part_of(page)

    def stop_following(self) -> None:
        self.pages.leave_shared()


class Bench:
    """A position writer, and endpoints that have caught up."""

    def __init__(self) -> None:
        self.shared = SharedPosition()
        self.shared.start(position(0))
        self.log = Log(self.shared)
        registration = Registration(1, SERVER, History(1))
        self.endpoints = [
            LeasedEndpoint(
                TILL,
                Lease(EndpointId(number), 1, registration),
                None,
                ScriptedTransport(),
                position(0),
                Seq(0),
                None,
                Pipeline,
                is_following=True,
            )
            for number in range(3)
        ]
        self.forgotten: list[LeasedEndpoint] = []
        self.writer = PositionWriter(self.log, self.shared, self, lambda: self.endpoints)
        self.writer.add(self.endpoints)

    def forget(self, leased: LeasedEndpoint) -> None:
        """Do what the reader does."""
        self.forgotten.append(leased)
        leased.follows = False
        if leased.pipeline is not None:
            leased.pipeline.stop_following()
        if leased.held is not None:
            leased.held.recorded()
            leased.held = None

    def hand_over(self, number: int, *wanting: LeasedEndpoint) -> list[PageUnderWay]:
        """Do what the reader does; return what is under way."""
        shared = self.shared.hand_over(position(number), held=bool(wanting))
        pages = []
        for leased in wanting:
            pipeline = leased.activate()
            assert isinstance(pipeline, Pipeline)
            pages.append(pipeline.pages.hand_over(position(number), 1, shared if leased.follows else None))
        if wanting:
            shared.recorded()
        return pages


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_endpoints_that_have_caught_up_follow_with_the_position_that_is_written_with_them(bench: Bench) -> None:
    await bench.writer.look()
    assert bench.log.following == {0, 1, 2}
    assert bench.log.position == position(0)
    assert all(leased.follows for leased in bench.endpoints)
    await bench.writer.look()
    assert bench.log.writes == 1


async def test_changes_that_nobody_wants_move_the_position(bench: Bench) -> None:
    await bench.writer.look()
    bench.hand_over(5)
    await bench.writer.look()
    assert bench.log.position == position(5)


async def test_endpoint_with_something_in_flight_does_not_begin_to_follow(bench: Bench) -> None:
    (page,) = bench.hand_over(5, bench.endpoints[0])
    await bench.writer.look()
    assert bench.log.following == {1, 2}
    page.recorded()
    await bench.writer.look()
    assert bench.log.following == {0, 1, 2}


async def test_endpoint_that_catches_up_or_stops_does_not_begin_to_follow(bench: Bench) -> None:
    bench.endpoints[0].is_following = False
    bench.endpoints[1].stopping = True
    await bench.writer.look()
    assert bench.log.following == {2}
    bench.endpoints[0].is_following = True
    await bench.writer.look()
    assert bench.log.following == {0, 2}


async def test_endpoint_that_keeps_the_position_from_going_on_leaves_with_its_own_and_follows_again_later(
    bench: Bench,
) -> None:
    slow, quick, _ = bench.endpoints
    await bench.writer.look()
    recorded, late, other = *bench.hand_over(5, slow), *bench.hand_over(6, slow), *bench.hand_over(7, quick)
    recorded.recorded()
    other.recorded()
    await bench.writer.look()
    assert bench.log.position == position(5)
    assert bench.log.following == {0, 1, 2}
    await bench.writer.look()
    assert bench.log.following == {1, 2}
    assert bench.log.own == {0: position(5)}
    assert bench.forgotten == [slow]
    await bench.writer.look()
    assert bench.log.position == position(7)
    assert bench.log.following == {1, 2}
    late.recorded()
    await bench.writer.look()
    assert bench.log.following == {0, 1, 2}


async def test_endpoint_whose_row_is_locked_follows_and_leaves_once_it_is_not(bench: Bench) -> None:
    locked = bench.endpoints[0]
    bench.log.locked = {locked.endpoint_id}
    await bench.writer.look()
    assert bench.log.following == {1, 2}
    assert locked.follows  # Its own position, which is written, has less.
    bench.log.locked.clear()
    await bench.writer.look()
    assert bench.log.following == {0, 1, 2}
    bench.log.locked = {locked.endpoint_id}
    bench.hand_over(5, locked)
    for _ in range(3):
        await bench.writer.look()
    assert bench.log.following == {0, 1, 2}
    assert bench.forgotten == []
    assert bench.log.position == position(0)
    bench.log.locked.clear()
    await bench.writer.look()
    assert bench.log.following == {1, 2}
    assert bench.forgotten == [locked]


async def test_endpoint_that_has_no_room_leaves_with_the_position_where_it_stopped(bench: Bench) -> None:
    slow = bench.endpoints[0]
    await bench.writer.look()
    bench.hand_over(5)
    slow.held, slow.is_following, slow.position = bench.shared.hold(position(5)), False, position(5)
    bench.hand_over(6)
    for _ in range(3):
        await bench.writer.look()
    assert bench.log.own == {0: position(5)}
    assert bench.log.position == position(6)
    assert bench.log.following == {1, 2}


async def test_endpoint_leaves_only_once_its_position_is_written(bench: Bench) -> None:
    slow = bench.endpoints[0]
    await bench.writer.look()
    bench.hand_over(5, slow)
    await bench.writer.look()
    bench.log.during = lambda: seen.append(slow.follows)
    seen: list[bool] = []
    await bench.writer.look()
    assert seen == [True]
    assert not slow.follows


async def test_endpoints_begin_to_follow_though_what_is_written_with_them_is_rejected_first(bench: Bench) -> None:
    bench.log.rejections = 1
    await bench.writer.look()
    assert all(leased.follows for leased in bench.endpoints)
    assert bench.log.following == {0, 1, 2}


async def test_endpoint_that_is_handed_over_something_between_two_tries_follows_and_is_waited_for(bench: Bench) -> None:
    bench.log.rejections = 1
    pages: list[PageUnderWay] = []

    def hand_over_once() -> None:
        bench.log.during = lambda: None
        pages.extend(bench.hand_over(5, bench.endpoints[0]))

    bench.log.during = hand_over_once
    await bench.writer.look()
    assert bench.log.following == {0, 1, 2}
    assert bench.log.position == position(0)
    pages[0].recorded()
    await bench.writer.look()
    assert bench.log.position == position(5)


async def test_endpoint_that_has_left_before_a_second_try_does_not_follow(bench: Bench) -> None:
    bench.log.rejections = 1
    leaving = bench.endpoints[0]

    def lose() -> None:
        leaving.stopping = True
        bench.forget(leaving)

    bench.log.during = lose
    await bench.writer.look()
    assert bench.log.following == {1, 2}
    assert not bench.endpoints[0].follows


async def test_endpoint_keeps_its_hold_if_it_is_unknown_whether_it_follows(bench: Bench) -> None:
    bench.log.failure = StatementFailed("a statement failed")
    with pytest.raises(StatementFailed):
        await bench.writer.look()
    bench.hand_over(5, bench.endpoints[0])
    assert bench.shared.next() == position(0)


async def test_many_endpoints_begin_to_follow_in_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_bridge.runtime.position_writer._MOST_AT_ONCE", 2)
    await bench.writer.look()
    assert len(bench.log.following) == 2
    await bench.writer.look()
    assert bench.log.following == {0, 1, 2}
