"""What is written together for many endpoints, and what becomes of each if a part of it cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from cdc_bridge.capture.position import Position
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.errors import LeaseLost, RowsLocked, ServerReplaced, StatementFailed
from cdc_bridge.model import DeliveryState, EndpointId, Seq
from cdc_bridge.pipeline.delivery_log import DeliveryLog
from cdc_bridge.pipeline.delivery_log_writer import DeliveryLogWriter, Moves
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.pipeline.recorded_position import PageUnderWay
from cdc_bridge.pipeline.shared_position import SharedPosition
from tests.unit.pipeline.scripted import change, position
from tests.unit.pipeline.virtual_time import in_virtual_time
from tests.unit.runtime.world import Connection, World

T = TypeVar("T")


class Database:
    """Takes a second for each transaction."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.transactions = 0
        self.repeats = 0
        """How often the response to the next transaction is lost."""
        self.replaced = False

    async def patiently(self, operation: Callable[[Any], Awaitable[T]]) -> T:
        while True:
            if self.replaced:
                raise ServerReplaced
            self.transactions += 1
            await asyncio.sleep(0.5)
            result = await operation(Connection(self._world))
            self._world.check()
            await asyncio.sleep(0.5)
            if not self.repeats:
                return result
            self.repeats -= 1


class Bench:
    """A writer for endpoints that follow the daemon's position, or (the last one) have their own."""

    def __init__(self, endpoints: int = 4) -> None:
        self.world = World(seed=1)
        for number in range(endpoints):
            self.world.add(f"till{number}", "abcd")
        registration = self.world.register()
        self.leases = [self.world.acquire(registration, id_).lease for id_ in list(self.world.endpoints)]
        self.database = Database(self.world)
        self.shared = SharedPosition()
        self.shared.start(position(5))
        self.writer = DeliveryLogWriter(self.database, registration, self.shared)  # type: ignore[arg-type]
        self.registration = registration
        self._seq = 0

    async def follow(self) -> None:
        """Have all endpoints but the last one follow the daemon's position."""
        await self.writer.move(lambda: Moves(follow=self.leases[:-1]))
        self.database.transactions = 0

    def deliveries(self, number: int, page: PageUnderWay | None = None) -> list[InFlight]:
        found = []
        for _ in range(number):
            self._seq += 1
            delivery = InFlight(change(self._seq, "abcd"[self._seq % 4]), page=page)
            delivery.state = DeliveryState.DELIVERED
            found.append(delivery)
        return found

    def record(self, lease: Lease, deliveries: list[InFlight], own: Position | None = None) -> asyncio.Task[None]:
        return asyncio.create_task(self.writer.record(lease, deliveries, lambda: own))

    @property
    def recorded(self) -> set[tuple[EndpointId, Seq]]:
        return set(self.world.deliveries)

    @property
    def daemon_position(self) -> Position | None:
        return self.world.daemons[self.registration.daemon_id]


@in_virtual_time
async def test_what_is_settled_while_a_transaction_is_under_way_is_written_in_the_next_one() -> None:
    bench = Bench(100)
    first = bench.record(bench.leases[0], bench.deliveries(1))
    await asyncio.sleep(0.1)
    others = [bench.record(lease, bench.deliveries(3)) for lease in bench.leases for _ in range(2)]
    await asyncio.gather(first, *others)
    assert bench.database.transactions == 2
    assert len(bench.recorded) == 601


@in_virtual_time
async def test_transaction_is_bounded() -> None:
    bench = Bench(10)
    await asyncio.gather(*(bench.record(lease, bench.deliveries(400)) for lease in bench.leases))
    assert len(bench.recorded) == 4000
    assert bench.database.transactions == 4


@in_virtual_time
async def test_position_moves_with_the_last_delivery_of_a_page_whoever_it_is_for() -> None:
    bench = Bench()
    await bench.follow()
    shared = bench.shared.hand_over(position(9), held=True)
    pages = [PageUnderWay(position(9), 1, shared) for _ in range(2)]
    shared.outstanding = 2
    first, second = bench.deliveries(1, pages[0]), bench.deliveries(1, pages[1])
    await bench.record(bench.leases[0], first)
    pages[0].recorded()
    assert bench.daemon_position == position(5)
    await bench.record(bench.leases[1], second)
    assert bench.daemon_position == position(9)


@in_virtual_time
async def test_own_position_is_asked_for_when_it_is_written() -> None:
    bench = Bench()
    await bench.follow()
    first = bench.record(bench.leases[0], bench.deliveries(1))
    await asyncio.sleep(0.1)
    own: list[Position | None] = [position(7)]
    second = asyncio.create_task(bench.writer.record(bench.leases[-1], bench.deliveries(1), lambda: own[0]))
    await asyncio.sleep(0.1)
    own[0] = position(8)
    await asyncio.gather(first, second)
    assert bench.world.endpoints[bench.leases[-1].endpoint_id].position == position(8)
    assert not bench.world.endpoints[bench.leases[-1].endpoint_id].following
    assert bench.world.endpoints[bench.leases[0].endpoint_id].following


@in_virtual_time
async def test_one_rejected_delivery_fails_its_endpoint_alone_and_moves_nothing_past_it() -> None:
    bench = Bench()
    await bench.follow()
    shared = bench.shared.hand_over(position(9), held=False)
    pages = [PageUnderWay(position(9), 2, shared) for _ in range(3)]
    shared.outstanding = 6
    batches = [bench.deliveries(2, page) for page in pages]
    bench.world.rejected = {(bench.leases[1].endpoint_id, batches[1][1].change.seq)}
    results = await asyncio.gather(
        *(bench.record(lease, batch) for lease, batch in zip(bench.leases, batches, strict=False)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), StatementFailed, type(None)]
    assert len(bench.recorded) == 4
    assert bench.daemon_position == position(5)


@in_virtual_time
async def test_locked_delivery_fails_its_endpoint_alone_and_is_written_by_itself_from_then_on() -> None:
    bench = Bench()
    locked, other = bench.leases[:2]
    bench.world.locked_deliveries = {locked.endpoint_id}
    one, two = bench.deliveries(1), bench.deliveries(1)
    both = [bench.record(locked, one), bench.record(other, two)]
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [type(result) for result in results] == [RowsLocked, type(None)]
    bench.database.transactions = 0
    tasks = [
        bench.record(other, bench.deliveries(1)),
        asyncio.create_task(bench.writer.record(locked, one, lambda: None, alone=True)),
        bench.record(other, bench.deliveries(1)),
    ]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), RowsLocked, type(None)]
    assert bench.database.transactions == 3
    bench.world.locked_deliveries.clear()
    await bench.writer.record(locked, one, lambda: None, alone=True)
    assert (locked.endpoint_id, one[0].change.seq) in bench.recorded


@in_virtual_time
async def test_moves_are_asked_for_again_if_a_delivery_beside_them_is_rejected() -> None:
    bench = Bench()
    deliveries = bench.deliveries(1)
    bench.world.rejected = {(bench.leases[0].endpoint_id, deliveries[0].change.seq)}
    asked: list[int] = []

    def moves() -> Moves:
        asked.append(len(asked))
        return Moves(follow=bench.leases[2:3])

    rejected = bench.record(bench.leases[0], deliveries)
    await asyncio.sleep(0)
    await bench.writer.move(moves)
    with pytest.raises(StatementFailed):
        await rejected
    assert asked == [0, 1]
    assert bench.world.endpoints[bench.leases[2].endpoint_id].following


@in_virtual_time
async def test_lost_lease_fails_its_endpoint_alone_and_the_position_goes_on_for_the_others() -> None:
    bench = Bench()
    await bench.follow()
    lost, kept = bench.leases[:2]
    bench.world.release(lost, disable=False)
    shared = bench.shared.hand_over(position(9), held=False)
    pages = [PageUnderWay(position(9), 1, shared) for _ in range(2)]
    shared.outstanding = 2
    results = await asyncio.gather(
        bench.record(lost, bench.deliveries(1, pages[0])),
        bench.record(kept, bench.deliveries(1, pages[1])),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [LeaseLost, type(None)]
    assert {id_ for id_, _ in bench.recorded} == {kept.endpoint_id}
    assert bench.daemon_position == position(9)
    assert bench.world.written_position(lost.endpoint_id) == position(5)


@in_virtual_time
async def test_nothing_is_written_once_the_registration_has_ended() -> None:
    bench = Bench()
    await bench.follow()
    bench.world.end_daemon(bench.registration.daemon_id)
    results = await asyncio.gather(
        *(bench.record(lease, bench.deliveries(1), position(7)) for lease in bench.leases),
        bench.writer.move(lambda: Moves(follow=bench.leases)),
        return_exceptions=True,
    )
    assert {type(result) for result in results} == {LeaseLost}
    assert not bench.recorded
    assert bench.database.transactions == 1
    assert not any(row.following for row in bench.world.endpoints.values())


@in_virtual_time
async def test_replaced_server_fails_all_that_wait() -> None:
    bench = Bench()
    waiting = [bench.record(lease, bench.deliveries(1)) for lease in bench.leases]
    await asyncio.sleep(0.1)
    waiting += [bench.record(lease, bench.deliveries(1)) for lease in bench.leases]
    bench.database.replaced = True
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 4 + [ServerReplaced] * 4


@in_virtual_time
async def test_what_is_repeated_as_the_response_was_lost_is_written_once() -> None:
    bench = Bench()
    await bench.follow()
    bench.database.repeats = 2
    shared = bench.shared.hand_over(position(9), held=False)
    page = PageUnderWay(position(9), 3, shared)
    shared.outstanding = 3
    await bench.record(bench.leases[0], bench.deliveries(3, page))
    assert len(bench.recorded) == 3
    assert bench.daemon_position == position(9)


@in_virtual_time
async def test_request_that_was_given_up_before_its_turn_is_not_written() -> None:
    bench = Bench()
    first = bench.record(bench.leases[0], bench.deliveries(1))
    await asyncio.sleep(0.1)
    given_up, kept = (
        bench.record(bench.leases[1], bench.deliveries(1)),
        bench.record(bench.leases[2], bench.deliveries(1)),
    )
    await asyncio.sleep(0.1)
    given_up.cancel()
    await asyncio.gather(first, kept)
    assert {id_ for id_, _ in bench.recorded} == {1, 3}
    assert given_up.cancelled()


@in_virtual_time
async def test_request_that_is_given_up_while_it_is_written_does_not_disturb_the_others() -> None:
    bench = Bench()
    given_up, kept = (
        bench.record(bench.leases[0], bench.deliveries(1)),
        bench.record(bench.leases[1], bench.deliveries(1)),
    )
    await asyncio.sleep(0.1)
    given_up.cancel()
    await kept
    await bench.record(bench.leases[2], bench.deliveries(1))
    assert {id_ for id_, _ in bench.recorded} == {1, 2, 3}


@in_virtual_time
async def test_close_gives_up_what_is_not_written() -> None:
    bench = Bench()
    waiting = [bench.record(lease, bench.deliveries(1)) for lease in bench.leases]
    await asyncio.sleep(0.1)
    waiting += [bench.record(lease, bench.deliveries(1)) for lease in bench.leases]
    await asyncio.sleep(0.1)
    await bench.writer.close()
    await asyncio.wait(waiting)
    assert all(one.cancelled() for one in waiting)
    assert not bench.recorded
    assert len(asyncio.all_tasks()) == 1


@in_virtual_time
async def test_position_is_written_again_only_if_it_has_moved() -> None:
    bench = Bench()
    await bench.follow()
    assert bench.shared.next() is None
    bench.shared.hand_over(position(6), held=False)
    assert bench.shared.next() == position(6)
    await bench.writer.move(Moves)
    assert bench.shared.next() is None
    assert bench.daemon_position == position(6)


@in_virtual_time
async def test_delivery_log_leaves_the_position_to_the_daemon_while_the_endpoint_follows() -> None:
    bench = Bench()
    follows = True
    log = DeliveryLog(bench.database, bench.leases[-1], bench.writer, lambda: follows)  # type: ignore[arg-type]
    before = bench.world.endpoints[bench.leases[-1].endpoint_id].position
    await log.record(bench.deliveries(1), position(7))
    assert bench.world.endpoints[bench.leases[-1].endpoint_id].position == before
    follows = False
    await log.record(bench.deliveries(1), position(8))
    assert bench.world.endpoints[bench.leases[-1].endpoint_id].position == position(8)
