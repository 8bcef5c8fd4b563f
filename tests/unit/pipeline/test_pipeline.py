"""The pipeline with a scripted transport and a scripted store: what is sent when, and what is recorded."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from cdc_bridge.capture.change_log import LoggedChange, Page
from cdc_bridge.endpoints.lease import Registration
from cdc_bridge.errors import LeaseLost, PayloadInvalid, ServerReplaced, StatementFailed
from cdc_bridge.model import ReservationId, Xid
from cdc_bridge.pipeline.in_flight import DueRetry
from cdc_bridge.pipeline.queue import DeliveredMeanwhile
from cdc_bridge.pipeline.retry_schedule import SCHEDULE_SECONDS
from cdc_bridge.transport.message import Message, seq_of
from cdc_bridge.transport.outcome import Failed, Fault, Outcome
from tests.unit.pipeline.scripted import (
    GONE,
    INVALID,
    OK,
    REQUEST_SECONDS,
    UNAVAILABLE,
    Gate,
    ScriptedPipeline,
    change,
    position,
)
from tests.unit.pipeline.virtual_time import in_virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
async def test_changes_of_one_reservation_are_sent_one_after_another_and_others_beside_them() -> None:
    async with ScriptedPipeline() as run:
        run.store.commit(change(1, "a"), change(2, "a"), change(3, "b"), change(4, "a"))
        await run.until_recorded(1, 2, 3, 4)
        assert [seq for reservation, seq in run.transport.sent if reservation == "a"] == [1, 2, 4]
        assert run.transport.seqs.index(3) < run.transport.seqs.index(2)
        assert run.store.position == 4


@in_virtual_time
async def test_next_change_of_a_reservation_waits_until_the_last_one_is_recorded() -> None:
    async with ScriptedPipeline() as run:
        run.store.recording.shut()
        run.store.commit(change(1, "a"), change(2, "a"), change(3, "b"))
        await run.until(lambda: run.transport.seqs == [1, 3] and run.store.recording.waiting == 1)
        await asyncio.sleep(100)
        assert run.transport.seqs == [1, 3]
        run.store.recording.open()
        await run.until_recorded(1, 2, 3)


@in_virtual_time
async def test_no_more_requests_are_under_way_than_allowed() -> None:
    async with ScriptedPipeline(max_in_flight=3) as run:
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 21)))
        await run.until_recorded(*range(1, 21))
        assert run.transport.most_under_way == 3


@in_virtual_time
async def test_change_that_was_recorded_before_is_not_sent_and_moves_the_position() -> None:
    async with ScriptedPipeline() as run:
        run.store.commit(change(1), recorded=True)
        await run.until(lambda: run.store.position == 1)
        assert (run.transport.sent, run.store.recorded) == ([], [])


@in_virtual_time
async def test_reservation_that_is_deleted_is_skipped() -> None:
    async with ScriptedPipeline() as run:
        run.store.deleted = {"a"}
        run.store.commit(change(1, "a"), change(2, "b"))
        await run.until_recorded(1, state="skipped")
        await run.until_recorded(2)
        assert run.transport.seqs == [2]


@in_virtual_time
async def test_rejected_delivery_is_retried_by_the_schedule_until_it_is_dead() -> None:
    async with ScriptedPipeline() as run:
        times: list[float] = []

        def reject(_: Message) -> Outcome:
            times.append(now())
            return INVALID

        run.transport.script = reject
        run.store.commit(change(1))
        await run.until_recorded(1, state="dead")
        assert [state for _, state in run.store.recorded] == ["retrying"] * 10 + ["dead"]
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert pauses == [pytest.approx(seconds, rel=0.11) for seconds in SCHEDULE_SECONDS]
        assert run.store.batches[-1][0].attempts == 11
        await run.until(lambda: not run.pipeline.has_retrying)


@in_virtual_time
async def test_rejection_with_retry_after_is_not_retried_before() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: Failed(422, "HTTP 422", Fault.DELIVERY, 600.0)
        begun = now()
        run.store.commit(change(1))
        await run.until(lambda: len(run.transport.sent) == 2)
        assert now() - begun >= 600


@in_virtual_time
async def test_retry_that_is_recorded_while_the_schedule_is_read_is_sent_when_it_is_due() -> None:
    async with ScriptedPipeline() as run:
        await run.until(lambda: run.reader.state == "idle" and run.store.schedule_reads > 0)
        run.store.reading_schedule.shut()
        run.pipeline.look_at_schedule()
        await run.until(lambda: run.store.reading_schedule.waiting == 1)
        run.transport.script = lambda _: INVALID
        run.store.commit(change(1))
        await run.until_recorded(1, state="retrying")
        run.transport.script = lambda _: OK
        recorded_at = now()
        run.store.reading_schedule.open()
        await run.until_recorded(1)
        assert now() - recorded_at < 2 * SCHEDULE_SECONDS[0]


@in_virtual_time
async def test_newer_change_is_sent_at_once_while_an_older_one_is_retrying() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda message: INVALID if seq_of(message.sequence or 0) == 1 else OK
        run.store.commit(change(1))
        await run.until_recorded(1, state="retrying")
        await run.until(lambda: run.pipeline.has_retrying)
        run.store.commit(change(2))
        await run.until_recorded(2)
        assert run.transport.seqs == [1, 2]


@in_virtual_time
async def test_retry_is_superseded_if_a_newer_change_was_delivered() -> None:
    async with ScriptedPipeline() as run:
        run.store.retry_in(60, DueRetry(change(1), 1, 1, overtaken=True))
        run.pipeline.look_at_schedule()
        await run.until_recorded(1, state="superseded")
        assert run.transport.sent == []


@in_virtual_time
async def test_retry_below_an_unread_change_is_not_sent_before_it() -> None:
    run = ScriptedPipeline(page_size=2)
    run.store.newer_unread = {ReservationId("a")}
    run.store.retry_in(0, DueRetry(change(1, "a"), 1, 1, overtaken=False))
    run.store.commit(*(change(seq, f"r{seq}") for seq in range(2, 8)), change(8, "a"))
    async with run:
        await run.until_recorded(8)
        assert "a" not in [reservation for reservation, _ in run.transport.sent[:-1]]


@in_virtual_time
async def test_no_retry_is_sent_before_the_end_of_the_log_if_too_many_have_an_unread_change() -> None:
    run = ScriptedPipeline(page_size=2)
    run.store.newer_unread = None
    run.store.retry_in(0, DueRetry(change(1, "a"), 1, 1, overtaken=False))
    run.store.commit(*(change(seq, f"r{seq}") for seq in range(2, 10)))
    run.store.recording.shut()
    async with run:
        await run.until(lambda: run.store.recording.waiting == 1)
        await asyncio.sleep(100)
        assert not run.pipeline.at_rest
        assert 1 not in run.transport.seqs
        run.store.recording.open()
        await run.until_recorded(1, 9)


@in_virtual_time
async def test_retry_that_came_due_behind_an_older_change_in_flight_is_sent_soon_after_that() -> None:
    run = ScriptedPipeline()
    run.store.retry_in(30, DueRetry(change(20), 1, 1, overtaken=False))
    async with run:
        run.transport.gate.shut()
        run.store.commit(change(10))
        await run.until(lambda: run.transport.seqs == [10])
        await asyncio.sleep(40)
        assert run.transport.seqs == [10]
        run.transport.gate.open()
        opened_at = now()
        await run.until_recorded(10, 20)
        assert run.transport.seqs == [10, 20]
        assert now() - opened_at < 6


@in_virtual_time
async def test_schedule_of_an_idle_endpoint_is_read_once_a_minute() -> None:
    async with ScriptedPipeline() as run:
        run.store.commit(change(1))
        await run.until_recorded(1)
        await asyncio.sleep(60)
        reads = run.store.schedule_reads
        await asyncio.sleep(3600)
        assert run.store.schedule_reads == reads + 60


@in_virtual_time
async def test_change_that_the_log_knows_to_be_overtaken_is_superseded() -> None:
    async with ScriptedPipeline() as run:
        run.store.commit(change(1), overtaken=True)
        await run.until_recorded(1, state="superseded")
        assert run.transport.sent == []


@in_virtual_time
async def test_latest_only_sends_the_newest_change_and_supersedes_the_others() -> None:
    async with ScriptedPipeline(latest_only=True) as run:
        run.store.commit(change(1, "a"), change(2, "b"), change(3, "a"), change(4, "a"))
        await run.until_recorded(2, 4)
        assert sorted(run.transport.seqs) == [2, 4]
        assert run.store.states == {1: "superseded", 2: "delivered", 3: "superseded", 4: "delivered"}


@in_virtual_time
async def test_latest_only_reads_on_during_an_outage_and_sends_each_reservation_once_after_it() -> None:
    """A window of six holds two reservations however often they change."""
    async with ScriptedPipeline(latest_only=True, page_size=2) as run:
        run.transport.script = lambda _: UNAVAILABLE
        for seq in range(1, 101):
            run.store.commit(change(seq, "ab"[seq % 2]))
        await run.until(lambda: len(run.store.recorded) == 98)
        failed = len(run.transport.sent)
        run.transport.script = lambda _: OK
        await run.until_recorded(99, 100)
        assert sorted(run.transport.seqs[failed:][-2:]) == [99, 100]


@in_virtual_time
async def test_latest_only_sends_a_change_that_is_read_during_the_request_as_well() -> None:
    async with ScriptedPipeline(latest_only=True) as run:
        run.transport.gate.shut()
        run.store.commit(change(1))
        await run.until(lambda: run.transport.gate.waiting == 1)
        run.store.commit(change(2), change(3))
        await run.until_recorded(2, state="superseded")
        run.transport.gate.open()
        await run.until_recorded(1, 3)
        assert run.transport.seqs == [1, 3]


@in_virtual_time
async def test_failing_endpoint_gets_probes_alone_and_all_once_it_recovers_with_no_schedule_used_up() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: UNAVAILABLE
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 11)))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        assert run.pipeline.state.problem == "HTTP 503"
        begun, requests = now(), len(run.transport.sent)
        await asyncio.sleep(3600)
        assert run.store.recorded == []
        probes = len(run.transport.sent) - requests
        assert (now() - begun) / 60 <= probes <= (now() - begun) / 54 + 10
        run.transport.script = lambda _: OK
        await run.until_recorded(*range(1, 11))
        assert {delivery.failures for batch in run.store.batches for delivery in batch} == {0}
        assert run.pipeline.state.failing_since is None
        assert run.pipeline.state.problem is None


@in_virtual_time
async def test_retry_after_is_honoured() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: Failed(429, "HTTP 429", Fault.OVERLOAD, 600.0)
        run.store.commit(change(1))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        run.transport.script = lambda _: OK
        begun = now()
        await run.until_recorded(1)
        assert now() - begun >= 600


@in_virtual_time
async def test_failure_in_the_midst_of_successes_counts_as_the_delivery_s_own() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda message: UNAVAILABLE if message.subject == "bad" else OK
        run.store.commit(change(1, "bad"), *(change(seq, f"r{seq}") for seq in range(2, 12)))
        await run.until_recorded(1, state="retrying")
        await run.until_recorded(*range(2, 12))
        (bad,) = [delivery for batch in run.store.batches for delivery in batch if delivery.change.seq == 1]
        assert (bad.failures, bad.last_status, bad.last_error) == (1, 503, "HTTP 503")
        assert run.pipeline.state.failing_since is None


@in_virtual_time
async def test_failure_beside_rejections_alone_counts_as_nobody_s() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda message: UNAVAILABLE if message.subject == "bad" else INVALID
        run.store.commit(change(1, "bad"), *(change(seq, f"r{seq}") for seq in range(2, 12)))
        await run.until(lambda: run.transport.seqs.count(1) > 2)
        assert run.pipeline.state.failing_since is not None
        assert run.store.recorded == []
        run.transport.script = lambda _: OK
        await run.until_recorded(*range(1, 12))
        assert failures_of(run) == {0}


def failures_of(run: ScriptedPipeline) -> set[int]:
    return {delivery.failures for batch in run.store.batches for delivery in batch}


@in_virtual_time
@pytest.mark.parametrize("latest_only", [False, True])
async def test_endpoint_that_rejects_everything_gets_probes_alone_and_all_once_it_accepts(*, latest_only: bool) -> None:
    async with ScriptedPipeline(latest_only=latest_only) as run:
        run.transport.script = lambda _: Failed(400, "HTTP 400", Fault.DELIVERY)
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 101)))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        assert run.pipeline.state.problem == "it rejects every reservation: HTTP 400"
        begun, requests, run.transport.most_under_way = now(), len(run.transport.sent), 0
        await asyncio.sleep(3600)
        assert run.store.recorded == []
        probes = len(run.transport.sent) - requests
        assert (now() - begun) / 60 <= probes <= (now() - begun) / 54 + 10
        assert run.transport.most_under_way == 1
        run.store.commit(change(101, "r7"))
        run.transport.script = lambda _: OK
        accepted_at = now()
        await run.until(lambda: run.store.position == 101)
        assert now() - accepted_at < 90
        assert failures_of(run) == {0}
        assert run.pipeline.state.failing_since is None


@in_virtual_time
async def test_endpoint_that_rejects_a_booking_an_hour_is_failing_by_the_third() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: INVALID
        for seq in range(1, 4):
            assert run.pipeline.state.failing_since is None
            run.store.commit(change(seq, f"r{seq}"))
            await asyncio.sleep(3600)
        assert run.pipeline.state.failing_since is not None
        await asyncio.sleep(5 * 24 * 3600)
        assert "dead" not in run.store.states.values()
        run.transport.script = lambda _: OK
        await run.until_recorded(1, 2, 3)


@in_virtual_time
async def test_daemon_that_starts_anew_finds_an_endpoint_that_rejects_everything_failing_again() -> None:
    for _ in range(3):
        async with ScriptedPipeline() as run:
            run.transport.script = lambda _: INVALID
            run.store.retry_in(0, DueRetry(change(1, "old"), 1, 1, overtaken=False))
            run.store.commit(*(change(seq, f"r{seq}") for seq in range(2, 12)))
            await run.until(lambda: run.pipeline.state.failing_since is not None)
            assert run.store.recorded in ([], [(1, "retrying")])


@in_virtual_time
async def test_rejected_delivery_beside_others_is_sent_once_and_then_by_its_schedule_and_delays_nobody() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda message: INVALID if message.subject == "bad" else OK
        run.store.commit(change(1, "bad"), *(change(seq, f"r{seq}") for seq in range(2, 12)))
        begun = now()
        await run.until_recorded(1, state="retrying")
        await run.until_recorded(*range(2, 12))
        assert now() - begun < 0.1
        assert run.transport.seqs.count(1) == 1
        await run.until(lambda: run.transport.seqs.count(1) == 2)
        assert now() - begun == pytest.approx(SCHEDULE_SECONDS[0], rel=0.15)
        assert run.pipeline.state.failing_since is None


@in_virtual_time
@pytest.mark.parametrize("accepted_of_ten", [1, 5, 9])
async def test_endpoint_that_rejects_many_bookings_and_accepts_others_never_fails_nor_slows_down(
    accepted_of_ten: int,
) -> None:
    async with ScriptedPipeline() as run:
        chance = random.Random(accepted_of_ten)
        accepted = {f"r{seq}" for seq in range(1, 3001) if chance.random() * 10 < accepted_of_ten}
        run.transport.script = lambda message: OK if message.subject in accepted else INVALID
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 3001)))
        begun = now()
        await run.until(lambda: len(run.store.states) == 3000)
        assert now() - begun < 1.1 * 3000 * REQUEST_SECONDS / 4 + 2
        assert {seq for seq, state in run.store.recorded if state == "delivered"} == {int(one[1:]) for one in accepted}
        assert run.state_changes == 1  # its very first attempt


@in_virtual_time
async def test_change_is_accepted_within_seconds_beside_a_replay_of_which_everything_is_rejected() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda message: OK if (message.subject or "").startswith("new") else INVALID
        run.store.retry_in(0, *(DueRetry(change(seq, f"old{seq}"), 1, 0, overtaken=False) for seq in range(1, 1001)))
        run.pipeline.look_at_schedule()
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        for seq in range(1001, 1061):
            await asyncio.sleep(90)
            committed_at = now()
            run.store.commit(change(seq, f"new{seq}"))
            await run.until_recorded(seq)
            assert now() - committed_at < 3
        assert len(run.store.states) > 1000


@in_virtual_time
async def test_one_reservation_that_is_rejected_after_the_endpoint_asked_for_a_pause_is_dead_in_the_end() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: busy if len(run.transport.sent) < 3 else INVALID
        busy = Failed(429, "HTTP 429", Fault.OVERLOAD)
        run.store.commit(change(1))
        await run.until_recorded(1, state="dead")
        assert run.pipeline.state.failing_since is None


@in_virtual_time
async def test_several_rejected_deliveries_on_their_schedule_do_not_make_a_quiet_endpoint_fail() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda message: OK if message.subject == "good" else INVALID
        run.store.commit(*(change(seq, f"bad{seq}") for seq in range(1, 9)), change(9, "good"))
        await run.until_recorded(*range(1, 9), state="dead")
        assert run.state_changes == 1  # its very first attempt


@in_virtual_time
async def test_reservation_deleted_while_it_is_probed_does_not_keep_the_endpoint_shut() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: Failed(429, "HTTP 429", Fault.OVERLOAD)
        run.store.commit(change(1, "a"))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        run.store.deleted = {"a"}
        await run.until_recorded(1, state="skipped")
        run.transport.script = lambda _: OK
        run.store.commit(change(2, "b"), change(3, "c"))
        await run.until_recorded(2, 3)


@in_virtual_time
async def test_reservation_that_cannot_be_loaded_delays_itself_alone() -> None:
    async with ScriptedPipeline() as run:
        run.store.unreadable = {"bad"}
        run.store.commit(change(1, "bad"), change(2, "good"))
        await run.until_recorded(1, state="retrying")
        await run.until_recorded(2)
        (bad,) = [delivery for batch in run.store.batches for delivery in batch if delivery.change.seq == 1]
        assert (bad.attempts, bad.failures, bad.last_error) == (0, 1, "it cannot be loaded: a cast")


@in_virtual_time
async def test_endpoint_fails_and_no_schedule_is_used_up_while_no_reservation_can_be_loaded() -> None:
    async with ScriptedPipeline() as run:
        run.store.unreadable = {"a", "b", "c"}
        run.store.commit(change(1, "a"), change(2, "b"), change(3, "c"))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        assert (run.transport.sent, run.store.recorded) == ([], [])
        run.store.unreadable = set()
        await run.until_recorded(1, 2, 3)


@in_virtual_time
async def test_window_bounds_what_is_read_and_reading_goes_on_when_there_is_room() -> None:
    async with ScriptedPipeline(page_size=5) as run:
        run.transport.gate.shut()
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 101)))
        await run.until(lambda: run.store.pages_read == 3)
        await asyncio.sleep(100)
        assert run.store.pages_read == 3
        assert run.pipeline.oldest_in_hand is not None
        run.transport.gate.open()
        await run.until_recorded(*range(1, 101))
        assert run.pipeline.oldest_in_hand is None


@in_virtual_time
async def test_many_due_retries_leave_room_for_new_changes() -> None:
    run = ScriptedPipeline(page_size=5)
    run.transport.gate.shut()
    run.store.retry_in(0, *(DueRetry(change(seq, f"old{seq}"), 1, 1, overtaken=False) for seq in range(1, 50)))
    async with run:
        await run.until(lambda: run.transport.under_way == 4)
        run.store.commit(*(change(seq, f"new{seq}") for seq in range(51, 61)))
        await run.until(lambda: run.store.pages_read > 2)
        run.transport.gate.open()
        await run.until_recorded(*range(1, 50), *range(51, 61))


@in_virtual_time
async def test_nothing_is_sent_once_another_daemon_has_the_lease() -> None:
    run = ScriptedPipeline()
    run.start()
    run.store.lease_lost = True
    run.store.commit(change(1))
    with pytest.raises(LeaseLost):
        await run.ended()
    assert (run.transport.sent, run.store.recorded) == ([], [])


@in_virtual_time
async def test_lease_lost_during_a_request_ends_it_and_records_nothing() -> None:
    run = ScriptedPipeline()
    run.start()
    run.transport.gate.shut()
    run.store.commit(change(1))
    await run.until(lambda: run.transport.gate.waiting == 1)
    run.store.lease_lost = True
    run.transport.gate.open()
    with pytest.raises(LeaseLost):
        await run.ended()
    assert run.store.recorded == []


@in_virtual_time
async def test_nothing_is_taken_while_the_lease_has_ended() -> None:
    async with ScriptedPipeline() as run:
        run.registration.renew(Registration.now() - 3600, 1)
        run.store.commit(change(1))
        await asyncio.sleep(100)
        assert run.store.loaded == []
        run.registration.renew(Registration.now(), 3600)
        await run.until_recorded(1)


@in_virtual_time
async def test_reservation_is_loaded_anew_if_the_lease_ended_before_its_body_was_written() -> None:
    async with ScriptedPipeline() as run:
        run.transport.withheld = 1
        run.store.commit(change(1))
        await run.until_recorded(1)
        assert run.store.loaded == [["r"], ["r"]]
        assert run.store.batches[-1][0].attempts == 1


@in_virtual_time
async def test_stopping_finishes_and_records_what_is_under_way_and_begins_nothing_new() -> None:
    run = ScriptedPipeline(max_in_flight=2)
    running = run.start()
    run.transport.gate.shut()
    run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 11)))
    await run.until(lambda: run.transport.gate.waiting == 2)
    stopping = asyncio.create_task(run.stop())
    await asyncio.sleep(1)
    assert not running.done()
    run.transport.gate.open()
    await stopping
    assert run.store.recorded == [(1, "delivered"), (2, "delivered")]
    assert run.transport.seqs == [1, 2]


@in_virtual_time
async def test_stopping_waits_until_all_is_recorded() -> None:
    run = ScriptedPipeline()
    running = run.start()
    run.store.recording.shut()
    run.store.commit(change(1))
    await run.until(lambda: run.store.recording.waiting == 1)
    stopping = asyncio.create_task(run.stop())
    await asyncio.sleep(1)
    assert not running.done()
    run.store.recording.open()
    await stopping
    assert run.store.recorded == [(1, "delivered")]


@in_virtual_time
async def test_request_that_takes_too_long_is_abandoned_when_stopping() -> None:
    run = ScriptedPipeline()
    run.start()
    run.transport.gate.shut()
    run.store.commit(change(1))
    await run.until(lambda: run.transport.gate.waiting == 1)
    begun = now()
    await run.stop()
    assert now() - begun == pytest.approx(run.finish_within_seconds)
    assert run.store.recorded == []


@in_virtual_time
async def test_endpoint_that_wants_no_more_requests_ends_it_and_nothing_is_settled() -> None:
    run = ScriptedPipeline(max_in_flight=1)
    run.start()
    run.transport.script = lambda _: GONE
    run.store.commit(change(1, "a"), change(2, "b"))
    await run.ended()
    assert run.pipeline.withdrawn
    assert (run.transport.seqs, run.store.recorded) == ([1], [])


@in_virtual_time
async def test_exception_in_a_request_ends_it() -> None:
    def crash(_: Message) -> Outcome:
        raise ZeroDivisionError

    run = ScriptedPipeline()
    run.start()
    run.transport.script = crash
    run.store.commit(change(1))
    with pytest.raises(ZeroDivisionError):
        await run.ended()


@in_virtual_time
async def test_change_that_is_handed_over_twice_is_an_error() -> None:
    run = ScriptedPipeline(page_size=1)
    run.start()
    run.transport.gate.shut()
    run.store.commit(change(1), change(1))
    with pytest.raises(RuntimeError, match="handed over twice"):
        await run.ended()


@in_virtual_time
async def test_idle_pipeline_is_neither_stalled_nor_behind() -> None:
    async with ScriptedPipeline() as run:
        run.store.commit(change(1))
        await run.until_recorded(1)
        await asyncio.sleep(3600)
        assert run.pipeline.at_rest
        assert run.pipeline.stalled_since is None
        assert run.pipeline.oldest_in_hand is None
        run.store.commit(change(2))
        assert run.pipeline.stalled_since is None
        await run.until_recorded(2)


@in_virtual_time
async def test_change_that_was_handed_over_just_now_is_not_stalled_since_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ScriptedPipeline() as run:
        seen: list[float | None] = []
        run.store.commit(change(1))
        await run.until_recorded(1)
        await asyncio.sleep(3600)
        monkeypatch.setattr(run.reader, "found", lambda: seen.append(run.pipeline.stalled_since))
        run.store.commit(change(2))
        await run.until_recorded(2)
        assert seen == [None]


@in_virtual_time
async def test_request_that_never_ends_counts_as_stalled_since_it_began() -> None:
    async with ScriptedPipeline() as run:
        run.transport.gate.shut()
        await asyncio.sleep(3600)
        run.store.commit(change(1))
        await run.until(lambda: run.transport.gate.waiting == 1)
        begun = now()
        await asyncio.sleep(60)
        assert run.pipeline.stalled_since == begun
        run.transport.gate.open()
        await run.until_recorded(1)


@in_virtual_time
async def test_recording_that_never_ends_counts_as_stalled_since_it_began() -> None:
    async with ScriptedPipeline() as run:
        run.store.recording.shut()
        run.store.commit(change(1))
        await run.until(lambda: run.store.recording.waiting == 1)
        begun = now()
        await asyncio.sleep(60)
        assert run.pipeline.stalled_since == begun
        run.store.recording.open()
        await run.until_recorded(1)


@in_virtual_time
async def test_endpoint_between_two_probes_is_not_stalled() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: Failed(429, "HTTP 429", Fault.OVERLOAD, 3600.0)
        run.store.commit(change(1))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        await asyncio.sleep(1800)
        assert run.pipeline.stalled_since is None
        assert run.pipeline.state.next_probe_at is not None
        run.transport.script = lambda _: OK
        await run.until_recorded(1)


@in_virtual_time
async def test_probe_that_is_overdue_counts_as_stalled_since_it_was_due() -> None:
    async with ScriptedPipeline() as run:
        run.transport.script = lambda _: Failed(429, "HTTP 429", Fault.OVERLOAD, 3600.0)
        run.store.commit(change(1))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        due = now() + 3600
        run.registration.renew(Registration.now() - 3600, 1)
        await asyncio.sleep(3700)
        assert run.pipeline.stalled_since == pytest.approx(due)
        run.transport.script = lambda _: OK
        run.registration.renew(Registration.now(), 3600)
        await run.until_recorded(1)


@in_virtual_time
async def test_delivery_that_cannot_be_recorded_holds_its_reservation_and_the_position_alone() -> None:
    async with ScriptedPipeline(max_in_flight=50) as run:
        run.store.recording.shut()
        run.store.rejected = {5}
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 21)))
        await run.until(lambda: len(run.transport.sent) == 20)
        run.store.recording.open()
        others = [seq for seq in range(1, 21) if seq != 5]
        await run.until_recorded(*others)
        run.store.commit(change(21, "r5"), change(22, "r6"))
        await run.until_recorded(22)
        assert run.store.position == 0
        assert run.transport.seqs.count(5) == 1
        assert 21 not in run.transport.seqs
        assert run.pipeline.state.problem == "delivery 5 cannot be recorded: a statement failed: too long"

        run.store.rejected = set()
        await run.until_recorded(5, 21)
        assert run.transport.seqs.count(5) == 1
        assert run.pipeline.state.problem is None
        await run.until(lambda: run.store.position == 22)


@in_virtual_time
async def test_delivery_that_cannot_be_recorded_is_tried_again_ever_more_rarely() -> None:
    async with ScriptedPipeline() as run:
        run.store.rejected = {1, 2}
        run.store.commit(change(1, "a"), change(2, "b"))
        await asyncio.sleep(3600)
        assert run.pipeline.state.problem == "delivery 1 and 1 more cannot be recorded: a statement failed: too long"
        assert 30 < run.store.rejections < 100


@in_virtual_time
async def test_position_stops_in_front_of_the_page_of_what_cannot_be_recorded() -> None:
    async with ScriptedPipeline(page_size=2) as run:
        run.store.rejected = {3}
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 7)))
        await run.until_recorded(1, 2, 4, 5, 6)
        assert run.store.position == 2


@in_virtual_time
async def test_stop_does_not_wait_for_what_cannot_be_recorded() -> None:
    async with ScriptedPipeline() as run:
        run.store.rejected = {1}
        run.store.commit(change(1, "a"), change(2, "b"))
        await run.until_recorded(2)
        stopped_at = now()
        await run.stop()
        assert now() - stopped_at < 1


@in_virtual_time
async def test_delivery_that_somebody_has_locked_is_recorded_once_it_is_free_and_that_is_no_standstill() -> None:
    async with ScriptedPipeline() as run:
        run.store.locks = True
        run.store.commit(change(1, "a"))
        await asyncio.sleep(3600)
        stalled_since = run.pipeline.stalled_since
        assert stalled_since is not None
        assert now() - stalled_since < 10
        assert run.pipeline.state.problem == "somebody has locked rows of the delivery log"
        assert run.transport.seqs == [1]
        run.store.locks = False
        await run.until_recorded(1)
        assert run.pipeline.state.problem is None
        assert run.store.tries_alone > 100  # Others are not to wait with it.


@in_virtual_time
async def test_pipeline_ends_if_nothing_can_be_recorded_whatever_the_delivery() -> None:
    run = ScriptedPipeline()
    run.store.rejects_all = True
    run.store.commit(change(1, "a"), change(2, "b"))
    run.start()
    with pytest.raises(StatementFailed):
        await run.ended()


@in_virtual_time
async def test_replaced_server_ends_the_pipeline_once_its_requests_have_finished() -> None:
    run = ScriptedPipeline()
    running = run.start()
    run.transport.gate.shut()
    run.store.commit(change(1))
    await run.until(lambda: run.transport.gate.waiting == 1)
    run.store.replaced = True
    run.store.commit(change(2, "other"))
    await asyncio.sleep(run.finish_within_seconds / 2)
    assert not running.done()
    run.transport.gate.open()
    with pytest.raises(ServerReplaced):
        await running
    assert run.transport.under_way == 0
    assert run.store.recorded == []


@in_virtual_time
async def test_replaced_server_ends_the_pipeline_even_if_a_request_hangs() -> None:
    run = ScriptedPipeline()
    running = run.start()
    run.transport.gate.shut()
    run.store.commit(change(1))
    await run.until(lambda: run.transport.gate.waiting == 1)
    run.store.replaced = True
    run.store.commit(change(2, "other"))
    began = now()
    with pytest.raises(ServerReplaced):
        await running
    assert now() - began == pytest.approx(run.finish_within_seconds, abs=1)


@in_virtual_time
async def test_pipeline_ends_by_itself_once_there_was_nothing_to_deliver_for_some_time() -> None:
    run = ScriptedPipeline(rest_after_seconds=3.0)
    run.start()
    for seq in range(1, 11):
        run.store.commit(change(seq))
        await run.until_recorded(seq)
        recorded_at = now()
        await asyncio.sleep(2.9)
        assert not run.pipeline.closed
    await run.ended()
    assert 3.0 <= now() - recorded_at < 6.1
    assert run.pipeline.closed


@in_virtual_time
async def test_pipeline_ends_by_itself_while_a_retry_is_due_later_and_not_before_one_that_is_due() -> None:
    run = ScriptedPipeline(rest_after_seconds=3.0)
    run.store.retry_in(2.9, DueRetry(change(1, "a"), 1, 1, overtaken=False))
    run.store.retry_in(60, DueRetry(change(2, "b"), 1, 1, overtaken=False))
    run.start()
    begun = now()
    await run.ended()
    assert run.store.states == {1: "delivered"}
    assert now() - begun < 10


@in_virtual_time
async def test_pipeline_of_a_failing_endpoint_stays_also_if_nothing_is_left_to_deliver() -> None:
    run = ScriptedPipeline(rest_after_seconds=3.0)
    run.start()
    run.transport.script = lambda _: UNAVAILABLE
    run.store.commit(change(1, "a"))
    await run.until(lambda: run.pipeline.state.failing_since is not None)
    run.store.deleted = {"a"}
    await run.until_recorded(1, state="skipped")
    await asyncio.sleep(100)
    assert not run.pipeline.closed
    run.transport.script = lambda _: OK
    run.store.commit(change(2, "b"))
    await run.until_recorded(2)
    await run.ended()
    assert run.pipeline.closed


@in_virtual_time
async def test_pipeline_does_not_end_while_a_request_takes_long_or_a_delivery_is_being_recorded() -> None:
    run = ScriptedPipeline(rest_after_seconds=3.0)
    run.start()
    run.transport.gate.shut()
    run.store.recording.shut()
    run.store.commit(change(1))
    await asyncio.sleep(100)
    run.transport.gate.open()
    await asyncio.sleep(100)
    assert not run.pipeline.closed
    run.store.recording.open()
    await run.ended()
    assert run.store.states == {1: "delivered"}


@in_virtual_time
async def test_page_of_which_everything_was_recorded_before_is_recorded_before_the_pipeline_ends() -> None:
    run = ScriptedPipeline(rest_after_seconds=3.0)
    run.start()
    run.store.recording.shut()
    run.store.commit(change(1), recorded=True)
    await asyncio.sleep(20)
    run.store.recording.open()
    await run.ended()
    assert run.store.position == 1


@pytest.mark.parametrize("steps", range(12))
@in_virtual_time
async def test_change_that_is_handed_over_as_the_pipeline_is_about_to_end_is_delivered(steps: int) -> None:
    run = ScriptedPipeline(rest_after_seconds=3.0)
    run.start()
    pipeline = run.pipeline
    await asyncio.sleep(3.0)
    for _ in range(steps):
        await asyncio.sleep(0)
    if not pipeline.closed:  # Else another pipeline is made for it.
        page = Page((LoggedChange(Xid(1), change(1)),), position(1), at_end=True)
        pipeline.hand_over(page, DeliveredMeanwhile(), position(0), None)
        await run.until_recorded(1)
    await run.ended()


@pytest.mark.parametrize("ends", ["410", "payload", "stop"])
@in_virtual_time
async def test_pipeline_that_finishes_as_it_may_deliver_no_more_takes_no_changes_and_leaves_them_to_no_other(
    ends: str,
) -> None:
    run = ScriptedPipeline(max_in_flight=2, rest_after_seconds=3.0)
    running = run.start()
    run.transport.script = lambda message: GONE if message.subject == "gone" else OK
    run.transport.gate.shut()
    run.store.commit(change(1, "long"))
    await run.until(lambda: run.transport.gate.waiting == 1)
    if ends == "410":
        run.transport.gate_of["gone"] = Gate()
        run.store.commit(change(2, "gone"))
    elif ends == "payload":
        run.store.invalid = PayloadInvalid("column missing")
        run.store.commit(change(2, "other"))
    else:
        run.stop_soon()
    while run.pipeline.has_room:
        await asyncio.sleep(0.01)
    await asyncio.sleep(10)
    assert not running.done()
    assert not run.pipeline.closed
    assert not run.pipeline.has_room
    run.transport.gate.open()
    if ends == "payload":
        with pytest.raises(PayloadInvalid):
            await running
    else:
        await running
    assert run.store.states == {1: "delivered"}
    assert not run.pipeline.closed


@in_virtual_time
async def test_very_first_attempt_is_reported_at_once_and_no_later_one() -> None:
    async with ScriptedPipeline() as run:
        run.store.commit(change(1, "a"))
        await run.until_recorded(1)
        assert run.state_changes == 1
        run.store.commit(change(2, "a"), change(3, "b"))
        await run.until_recorded(1, 2, 3)
        assert run.state_changes == 1
