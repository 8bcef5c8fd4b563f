"""Who is handed over what, when the log is read for all endpoints together."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cdc_bridge.capture.change_log import Page
from cdc_bridge.capture.position import Position
from cdc_bridge.runtime import catch_up_group
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.tasks import end
from tests.unit.pipeline.virtual_time import in_virtual_time
from tests.unit.runtime.reading import PAGE_SIZE, Bench


@pytest.fixture
def few_are_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up_group, "_NEAR_TRANSACTIONS", 2)


async def all_in_order(bench: Bench, *endpoints: LeasedEndpoint) -> None:
    """Check that each endpoint was handed over what it wants, once."""
    await bench.settle()
    for leased in endpoints:
        wanted = [
            seq
            for _, seq in bench.log.model.visible()
            if bench.log.reservations[seq] in bench.wants[leased.endpoint_id]
        ]
        assert sorted(bench.of(leased)) == sorted(wanted)


@in_virtual_time
async def test_endpoint_catches_up_and_follows() -> None:
    bench = Bench()
    leased = bench.lease("ab")
    bench.log.commit("a", "c", "b", "a", "b")
    bench.reader.add([leased])
    await bench.settle()
    assert bench.of(leased) == [1, 3, 4, 5]
    assert leased.is_following
    assert leased.is_caught_up
    assert bench.pipeline(leased).knows_end
    bench.log.commit("c", "b")
    await bench.settle()
    assert bench.of(leased) == [1, 3, 4, 5, 7]
    await bench.stop()


@in_virtual_time
async def test_log_is_read_once_for_all_that_follow_and_only_those_are_touched_that_want_something() -> None:
    bench = Bench()
    endpoints = [bench.lease(wants) for wants in ("a", "b", "c", "ab")]
    bench.reader.add(endpoints)
    await bench.settle()
    bench.log.reads.clear()
    bench.routed.clear()
    bench.log.commit("a", "b")
    await asyncio.sleep(0.6)
    assert len(bench.log.reads) <= 3
    assert bench.routed == [None]
    assert [bench.of(leased) for leased in endpoints] == [[1], [2], [], [1, 2]]
    assert endpoints[2].pipeline is None
    await bench.stop()


@in_virtual_time
async def test_endpoints_with_different_positions_catch_up_together_and_each_gets_what_it_lacks() -> None:
    bench = Bench()
    first = bench.lease("ab")
    bench.log.commit("a", "b")
    second = bench.lease("ab")
    bench.log.model.begin()
    late = bench.log.model.next_xid - 1
    bench.log.write(late, "a")
    bench.log.commit("b", "b", "b", "b")
    third = bench.lease("ab")
    bench.log.end(late)
    bench.log.commit("a")
    bench.reader.add([first, second, third])
    await bench.settle()
    assert sorted(bench.of(first)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert sorted(bench.of(second)) == [3, 4, 5, 6, 7, 8]
    assert sorted(bench.of(third)) == [3, 8]
    assert len({str(position) for position in bench.log.reads}) == len(bench.log.reads[:4])
    await bench.stop()


@in_virtual_time
async def test_endpoints_that_end_at_the_same_place_inside_a_transaction_catch_up_together() -> None:
    bench = Bench()
    before = bench.log.position
    bench.log.commit(*"abababab")
    inside = bench.log.model.read(before, 4)[1]
    assert inside.place is not None
    endpoints = [bench.lease("ab", inside) for _ in range(50)]
    bench.reader.add(endpoints)
    await bench.settle()
    assert all(bench.of(leased) == [5, 6, 7, 8] for leased in endpoints)
    assert len(bench.log.reads) < 10
    await bench.stop()


@in_virtual_time
async def test_endpoints_whose_pages_ended_behind_different_transactions_catch_up_together() -> None:
    bench = Bench()
    before = bench.log.position
    for _ in range(50):
        bench.log.commit("a", "b")
    endpoints = [bench.lease("ab", bench.log.model.read(before, 2 * number)[1]) for number in range(1, 50)]
    bench.reader.add(endpoints)
    await bench.settle()
    assert [len(bench.of(leased)) for leased in endpoints] == [100 - 2 * number for number in range(1, 50)]
    pages = 100 // PAGE_SIZE + 1
    assert len(bench.log.reads) < 2 * pages
    await bench.stop()


@in_virtual_time
async def test_endpoints_that_end_at_different_places_inside_transactions_get_what_they_lack() -> None:
    bench = Bench()
    before = bench.log.position
    bench.log.commit(*"abababab")
    places = [bench.log.model.read(before, limit)[1] for limit in (2, 5, 7)]
    endpoints = [bench.lease("ab", place) for place in places]
    bench.reader.add(endpoints)
    await bench.settle()
    assert [bench.of(leased) for leased in endpoints] == [[3, 4, 5, 6, 7, 8], [6, 7, 8], [8]]
    assert all(leased.is_following for leased in endpoints)
    await bench.stop()


@pytest.mark.usefixtures("few_are_far")
@in_virtual_time
async def test_endpoints_that_are_far_behind_do_not_hold_up_the_others() -> None:
    bench = Bench()
    far = bench.lease("a")
    for _ in range(2 * catch_up_group._NEAR_TRANSACTIONS):
        bench.log.model.begin()
        bench.log.model.end(0, commit=True)
    for _ in range(100):
        bench.log.commit("a")
    near = [bench.lease("b", bench.log.position) for _ in range(3)]
    bench.log.commit("b")
    bench.reader.add([far, *near])
    await asyncio.sleep(0.2)
    assert all(bench.of(leased) == [101] for leased in near)
    assert len(bench.of(far)) < 50
    await all_in_order(bench, far)
    await bench.stop()


@pytest.mark.usefixtures("few_are_far")
@in_virtual_time
async def test_endpoints_that_catch_up_for_long_leave_room_for_one_that_is_not_far_behind() -> None:
    bench = Bench()
    following = bench.lease("b")
    bench.reader.add([following])
    await bench.settle()
    bench.log.seconds = lambda: 0.0
    far = []
    for commits in (560, 55, 5):  # Each is too far behind for the group of the next one.
        far.append(bench.lease("a"))
        for _ in range(commits):
            bench.log.commit("a" if commits == 5 else "c")
    await bench.settle()
    bench.log.seconds = lambda: 0.2
    for leased in far:
        bench.reader.add([leased])
        await asyncio.sleep(0.1)
    near = bench.lease("b", bench.reader._position)
    bench.log.commit("b")
    bench.reader.add([near])
    await asyncio.sleep(3)
    assert len(bench.of(near)) == 1
    assert not any(leased.is_following for leased in far)
    assert len(bench.reader._to_catch_up) == 1
    bench.log.seconds = lambda: 0.0
    await asyncio.sleep(20)
    await all_in_order(bench, *far)
    await bench.stop()


@in_virtual_time
async def test_group_goes_on_from_where_the_others_are_once_the_last_one_has_dropped_out() -> None:
    bench = Bench()
    slow = bench.lease("a")
    for _ in range(100):
        bench.log.commit("a")
    quick = bench.lease("b")
    bench.log.commit("b")
    bench.pipeline(slow).full()
    bench.reader.add([slow, quick])
    await asyncio.sleep(0.2)
    assert bench.of(quick) == [101]
    bench.pipeline(slow).make_room()
    await all_in_order(bench, slow)
    await bench.stop()


@in_virtual_time
async def test_endpoint_without_room_falls_behind_and_the_others_go_on() -> None:
    bench = Bench()
    slow, quick = bench.lease("ab"), bench.lease("ab")
    bench.reader.add([slow, quick])
    await bench.settle()
    bench.pipeline(slow).full()
    for _ in range(10):
        bench.log.commit("a", "b")
    await bench.settle()
    assert len(bench.of(quick)) == 20
    assert bench.of(slow) == []
    assert not slow.is_following
    bench.pipeline(slow).make_room()
    bench.log.commit("a")
    await all_in_order(bench, slow, quick)
    assert slow.is_following
    await bench.stop()


@in_virtual_time
async def test_endpoint_that_has_room_for_little_stops_and_goes_on_again_and_again() -> None:
    bench = Bench()
    leased = bench.lease("a")
    for _ in range(20):
        bench.log.commit("a")
    bench.reader.add([leased])
    pipeline = bench.pipeline(leased)
    for _ in range(60):
        await asyncio.sleep(0.015)
        pipeline.full()
        await asyncio.sleep(0.1)
        pipeline.make_room()
    await all_in_order(bench, leased)
    await bench.stop()


@in_virtual_time
async def test_nothing_is_read_for_a_group_in_which_nobody_has_room() -> None:
    bench = Bench()
    leased = bench.lease("a")
    for _ in range(20):
        bench.log.commit("a")
    pipeline = bench.pipeline(leased)
    pipeline.full()
    bench.reader.add([leased])
    await bench.settle()
    assert bench.log.reads == []
    pipeline.make_room()
    await all_in_order(bench, leased)
    await bench.stop()


@in_virtual_time
async def test_endpoint_joins_without_gap_or_repetition_while_the_others_are_read_for() -> None:
    bench = Bench()
    following = bench.lease("ab")
    bench.reader.add([following])
    await bench.settle()
    joining = []
    for number in range(40):
        bench.log.commit("a", *"b" * (number % 5))
        if number % 4 == 0:
            joining.append(bench.lease("ab", following.position))
            bench.reader.add(joining[-1:])
        await asyncio.sleep(0.004 * (number % 7))
        bench.listener._wake_readers()
    await all_in_order(bench, following, *joining)
    await bench.stop()


@in_virtual_time
async def test_endpoint_that_is_ahead_of_the_others_is_handed_over_nothing_twice() -> None:
    bench = Bench()
    following = bench.lease("a")
    bench.reader.add([following])
    await bench.settle()
    bench.log.may_read.clear()
    bench.log.commit("a")
    await asyncio.sleep(1)  # The reader reads for the one that follows, and does not get on.
    ahead = bench.lease("ab", following.position)
    bench.reader.add([ahead])
    for _ in range(5):
        bench.log.commit("a", "b")
    bench.log.may_read.set()
    await all_in_order(bench, following, ahead)
    assert not bench.reader._ahead
    await bench.stop()


@in_virtual_time
async def test_what_is_recorded_is_not_handed_over_and_what_was_overtaken_is_marked() -> None:
    bench = Bench()
    leased = bench.lease("abc", known_seq=3)
    bench.log.recorded, bench.log.overtaken = {(1, 1)}, {(1, 2)}
    bench.log.commit("a", "b")
    bench.reader.add([leased])
    await bench.settle()
    assert bench.of(leased) == [2]
    assert bench.log.asked == [{1: [1, 2]}]
    await bench.stop()


@in_virtual_time
async def test_page_of_which_everything_is_recorded_is_passed() -> None:
    bench = Bench()
    leased = bench.lease("a", known_seq=9)
    bench.log.recorded = {(1, 1), (1, 2)}
    bench.log.commit("a", "a")
    bench.reader.add([leased])
    await bench.settle()
    assert leased.pipeline is None
    assert leased.is_following
    assert bench.shared.next() is not None
    await bench.stop()


@in_virtual_time
async def test_delivery_log_is_not_asked_for_changes_with_higher_numbers_than_it_has() -> None:
    bench = Bench()
    leased = bench.lease("a", known_seq=3)
    bench.log.commit("b", "b", "b", "a")
    bench.reader.add([leased])
    await bench.settle()
    for _ in range(5):
        bench.log.commit("a")
    await bench.settle()
    assert bench.of(leased) == [4, 5, 6, 7, 8, 9]
    assert bench.log.asked == []
    await bench.stop()


@in_virtual_time
async def test_delivery_log_is_asked_for_a_change_with_a_lower_number_that_is_committed_later() -> None:
    bench = Bench()
    leased = bench.lease("a")
    bench.reader.add([leased])
    await bench.settle()
    # The related change of a reservation gets its number some time before it is appended.
    bench.log.model.begin()
    late = bench.log.model.next_xid - 1
    bench.log.write(late, "a")
    bench.log.commit("a")
    await bench.settle()
    bench.log.overtaken = {(1, 1)}
    bench.log.end(late)
    await bench.settle()
    assert bench.log.asked == [{1: [1]}]
    assert bench.of(leased) == [2, 1]
    await bench.stop()


@in_virtual_time
async def test_delivery_log_is_asked_again_if_another_pipeline_was_made_meanwhile() -> None:
    bench = Bench()
    leased = bench.lease("a", known_seq=9)
    bench.log.commit("a")
    bench.log.may_tell.clear()
    bench.reader.add([leased])
    await bench.settle()
    assert bench.log.telling == 1
    pipeline = bench.pipeline(leased)  # for a retry, say
    bench.log.recorded = {(1, 1)}
    bench.log.may_tell.set()
    await bench.settle()
    assert bench.of(leased) == []
    assert len(bench.log.asked) == 2
    assert pipeline.reads == []
    await bench.stop()


@in_virtual_time
async def test_what_is_delivered_while_the_delivery_log_is_asked_is_told_with_the_page() -> None:
    bench = Bench()
    leased = bench.lease("a", known_seq=9)
    pipeline = bench.pipeline(leased)
    bench.log.commit("a")
    bench.log.may_tell.clear()
    bench.reader.add([leased])
    await bench.settle()
    (meanwhile,) = pipeline.reads
    bench.log.may_tell.set()
    await bench.settle()
    assert pipeline.meanwhile == [meanwhile]
    assert pipeline.reads == []
    await bench.stop()


@in_virtual_time
async def test_page_goes_to_a_new_pipeline_if_the_old_one_came_to_rest_meanwhile() -> None:
    bench = Bench()
    leased = bench.lease("a")
    bench.reader.add([leased])
    await bench.settle()
    resting = bench.pipeline(leased)
    bench.log.may_read.clear()
    bench.log.commit("a")
    await bench.settle()
    resting.closed = True
    bench.log.may_read.set()
    await bench.settle()
    assert bench.of(leased) == [1]
    assert leased.pipeline is not resting
    await bench.stop()


@in_virtual_time
async def test_endpoint_of_which_it_is_undecided_what_it_wants_waits_and_the_others_do_not() -> None:
    bench = Bench()
    undecided, other = bench.lease("a"), bench.lease("ab")
    bench.reader.add([undecided, other])
    await bench.settle()
    bench.undecided = {undecided.endpoint_id}
    bench.log.commit("a", "b")
    await bench.settle()
    assert bench.of(other) == [1, 2]
    assert not undecided.is_following
    await asyncio.sleep(10)
    bench.log.commit("a")
    bench.undecided = set()
    await asyncio.sleep(5)
    await all_in_order(bench, undecided, other)
    assert undecided.is_following
    await bench.stop()


@in_virtual_time
async def test_position_of_the_daemon_waits_for_the_endpoint_that_is_undecided() -> None:
    bench = Bench()
    undecided = bench.lease("a")
    bench.reader.add([undecided])
    await bench.settle()
    undecided.follows, before = True, bench.shared.next()
    bench.undecided = {undecided.endpoint_id}
    bench.log.commit("a")
    await bench.settle()
    assert bench.shared.next() == before
    bench.undecided = set()
    await asyncio.sleep(5)
    assert bench.of(undecided) == [1]
    bench.reader.forget(undecided)
    assert bench.shared.first_unrecorded is None
    await bench.stop()


@in_virtual_time
async def test_position_of_the_daemon_waits_until_all_parts_of_a_page_are_recorded() -> None:
    bench = Bench()
    endpoints = [bench.lease("a"), bench.lease("ab")]
    bench.reader.add(endpoints)
    await bench.settle()
    for leased in endpoints:
        leased.follows = True
    before = bench.shared.next()
    bench.log.commit("a", "b")
    await bench.settle()
    assert bench.shared.next() == before
    bench.pipeline(endpoints[0]).record_all()
    assert bench.shared.next() == before
    bench.pipeline(endpoints[1]).record_all()
    assert bench.shared.next() == bench.reader._position != before
    await bench.stop()


@in_virtual_time
async def test_position_of_the_daemon_waits_for_an_endpoint_that_fell_behind_or_left_until_it_is_forgotten() -> None:
    bench = Bench()
    slow, leaving = bench.lease("a"), bench.lease("b")
    bench.reader.add([slow, leaving])
    await bench.settle()
    slow.follows = leaving.follows = True
    before = bench.shared.next()
    bench.pipeline(slow).full()
    bench.log.commit("a")
    await bench.settle()
    leaving.stopping = True
    bench.reader.leave(leaving)
    bench.log.commit("b")
    await bench.settle()
    assert bench.shared.next() == before
    bench.reader.forget(slow)
    assert bench.shared.next() != before
    behind = bench.shared.next()
    bench.log.commit("c")
    await bench.settle()
    assert bench.shared.next() == behind
    bench.reader.forget(leaving)
    assert bench.shared.first_unrecorded is None
    assert not bench.reader._holding
    await bench.stop()


@in_virtual_time
async def test_reader_that_has_ended_lets_go_of_all_endpoints_and_the_position_of_the_daemon_stays() -> None:
    bench = Bench()
    following, leaving, catching_up = bench.lease("a"), bench.lease("b"), bench.lease("c")
    bench.reader.add([following, leaving])
    await bench.settle()
    following.follows = leaving.follows = True
    bench.pipeline(following).full()
    bench.log.commit("a", "b")
    await bench.settle()
    leaving.stopping = True
    bench.reader.leave(leaving)
    await bench.stop()
    bench.reader.add([catching_up])
    before = bench.shared.next()
    bench.reader.drop_all()
    assert bench.shared.next() == before
    assert not bench.reader.following
    held = [value for value in vars(bench.reader).values() if isinstance(value, dict | set)]
    assert not [
        one for one in (following, leaving, catching_up) for each in held if one in each or one.endpoint_id in each
    ]


@in_virtual_time
async def test_endpoint_that_leaves_while_a_page_is_read_for_it_is_handed_over_nothing_and_waited_for() -> None:
    bench = Bench()
    leased, other = bench.lease("a"), bench.lease("a")
    bench.reader.add([leased, other])
    await bench.settle()
    leased.follows = True
    before = bench.shared.next()
    bench.log.may_read.clear()
    bench.log.commit("a")
    await bench.settle()
    leased.stopping = True
    bench.reader.leave(leased)
    bench.log.may_read.set()
    await bench.settle()
    assert bench.of(leased) == []
    assert bench.of(other) == [1]
    assert bench.shared.next() == before
    assert leased.position == before
    await bench.stop()


@in_virtual_time
async def test_endpoint_that_leaves_while_it_catches_up_or_waits_for_room_is_handed_over_nothing_more() -> None:
    bench = Bench()
    catching_up, waiting = bench.lease("a"), bench.lease("a")
    bench.pipeline(waiting).full()
    bench.log.commit("a")
    bench.reader.add([waiting])
    await bench.settle()
    bench.log.may_read.clear()
    bench.reader.add([catching_up])
    await bench.settle()
    for leased in (catching_up, waiting):
        leased.stopping = True
        bench.reader.leave(leased)
    bench.pipeline(waiting).make_room()
    bench.log.may_read.set()
    await bench.settle()
    assert bench.of(catching_up) == bench.of(waiting) == []
    assert not bench.reader._waiting_for_room
    await bench.stop()


@in_virtual_time
async def test_endpoint_that_leaves_while_a_page_is_read_as_it_catches_up_keeps_its_position() -> None:
    bench = Bench()
    leased = bench.lease("a")
    before = leased.position
    for _ in range(20):
        bench.log.commit("a")
    bench.log.may_read.clear()
    bench.reader.add([leased])
    await asyncio.sleep(0.1)
    assert bench.log.reading
    leased.stopping = True
    bench.reader.leave(leased)
    bench.log.may_read.set()
    await asyncio.sleep(5)
    assert bench.of(leased) == []
    assert leased.position == before
    await bench.stop()


@in_virtual_time
async def test_endpoint_that_is_leased_again_does_not_lose_its_hold_to_its_earlier_lease() -> None:
    bench = Bench()
    earlier = bench.lease("a")
    bench.reader.add([earlier])
    await bench.settle()
    earlier.stopping = earlier.follows = True
    bench.reader.leave(earlier)
    bench.reader.forget(earlier)
    again = replace(earlier, stopping=False, follows=False, pipeline=None, position=bench.log.position)
    bench.reader.add([again])
    await bench.settle()
    again.follows = True
    bench.pipeline(again).full()
    bench.log.commit("a")
    await bench.settle()
    bench.reader.forget(earlier)
    assert bench.reader._holding
    assert bench.shared.first_unrecorded is not None
    await bench.stop()


@in_virtual_time
async def test_log_is_not_unread_as_soon_as_somebody_follows_again() -> None:
    bench = Bench()
    leased = bench.lease("a")
    bench.reader.add([leased])
    await bench.settle()
    assert bench.reader.unread_since is not None
    leased.stopping = True
    bench.reader.leave(leased)
    assert bench.reader.unread_since is None
    await asyncio.sleep(3600)
    bench.log.may_read.clear()
    another = bench.lease("a")
    bench.reader.add([another])
    await asyncio.sleep(1)
    bench.log.may_read.set()
    while not another.is_following:
        await asyncio.sleep(0.001)
    began = asyncio.get_running_loop().time()
    assert bench.reader.unread_since is not None
    assert began - bench.reader.unread_since < 1
    await bench.stop()


@in_virtual_time
async def test_log_is_unread_while_a_read_does_not_end() -> None:
    bench = Bench()
    leased = bench.lease("a")
    bench.reader.add([leased])
    await bench.settle()
    bench.log.may_read.clear()
    await asyncio.sleep(100)
    assert bench.reader.unread_since is not None
    assert asyncio.get_running_loop().time() - bench.reader.unread_since > 98
    bench.log.may_read.set()
    await bench.stop()


@in_virtual_time
async def test_log_is_unread_while_a_read_for_those_that_catch_up_does_not_end() -> None:
    bench = Bench()
    leased = bench.lease("a")
    bench.log.may_read.clear()
    bench.reader.add([leased])
    await asyncio.sleep(100)
    assert bench.reader.unread_since is not None
    assert asyncio.get_running_loop().time() - bench.reader.unread_since > 98
    bench.log.may_read.set()
    await bench.settle()
    assert asyncio.get_running_loop().time() - bench.reader.unread_since < 30
    await bench.stop()


@in_virtual_time
async def test_error_of_the_log_ends_the_reader_and_all_that_it_does() -> None:
    bench = Bench()
    leased = bench.lease("a")
    bench.pipeline(leased).full()
    bench.log.commit("a")
    bench.reader.add([leased])
    await bench.settle()

    async def fail(position: Position, limit: int) -> Page:
        raise ZeroDivisionError

    bench.log.read_page = fail  # type: ignore[method-assign]
    bench.reader.add([bench.lease("b")])
    with pytest.raises(ZeroDivisionError):
        await bench.work[0]
    await end(bench.work)
    assert len(asyncio.all_tasks()) == 1


@in_virtual_time
async def test_endpoint_that_is_undecided_as_it_catches_up_goes_on_where_it_was() -> None:
    bench = Bench()
    leased, other = bench.lease("a"), bench.lease("b")
    bench.log.commit("b")
    other.position = bench.log.position
    for _ in range(12):
        bench.log.commit("a")
    bench.reader.add([leased, other])
    while len(bench.of(leased)) < 3:
        await asyncio.sleep(0.001)
    bench.undecided = {leased.endpoint_id}
    await asyncio.sleep(10)
    assert 3 <= len(bench.of(leased)) < 12
    bench.undecided = set()
    await asyncio.sleep(5)
    await all_in_order(bench, leased)
    await bench.stop()


@in_virtual_time
async def test_endpoint_that_is_ahead_and_falls_behind_is_handed_over_nothing_twice() -> None:
    bench = Bench()
    following = bench.lease("")
    bench.reader.add([following])
    await bench.settle()
    bench.log.may_read.clear()
    bench.log.commit("c")
    await asyncio.sleep(1)  # The reader reads for the one that follows, and does not get on.
    ahead = bench.lease("a", following.position)
    bench.reader.add([ahead])
    for _ in range(4):
        bench.log.commit("a")
    bench.log.may_read.set()
    while not ahead.is_following:
        await asyncio.sleep(0.001)
    assert len(bench.of(ahead)) == 4
    bench.pipeline(ahead).full()
    for _ in range(4):
        bench.log.commit("a")
    bench.listener._wake_readers()
    await asyncio.sleep(1)
    assert not ahead.is_following
    bench.pipeline(ahead).make_room()
    await all_in_order(bench, ahead)
    await bench.stop()


@in_virtual_time
async def test_endpoints_at_different_places_inside_a_transaction_are_handed_over_nothing_twice() -> None:
    bench = Bench()
    before = bench.log.position
    bench.log.commit(*"aaaaaaaaaaaaaaaaaa")
    endpoints = [bench.lease("a", bench.log.model.read(before, limit)[1]) for limit in (2, 5)]
    bench.reader.add(endpoints)
    for leased in endpoints:
        while len(bench.of(leased)) < 4:
            await asyncio.sleep(0.001)
        bench.pipeline(leased).full()
    await bench.settle()
    for leased in endpoints:
        bench.pipeline(leased).make_room()
    await bench.settle()
    assert [bench.of(leased) for leased in endpoints] == [[*range(3, 19)], [*range(6, 19)]]
    await bench.stop()
