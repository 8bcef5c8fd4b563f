"""The pipeline with a limit of requests per second: what spends a token, and what is said of the wait."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from cdc_bridge.endpoints.lease import Registration
from cdc_bridge.transport.outcome import Failed, Fault
from tests.unit.pipeline.scripted import INVALID, OK, ScriptedPipeline, change
from tests.unit.pipeline.test_token_bucket import most_in_a_second
from tests.unit.pipeline.virtual_time import in_virtual_time

INTERVAL = 1 / 0.98
"""Seconds between two tokens at one request per second."""


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
@pytest.mark.parametrize("rate", [3, 5, 200])
async def test_no_second_has_more_requests_than_the_rate_and_a_backlog_is_sent_at_nearly_the_rate(rate: int) -> None:
    async with ScriptedPipeline(max_in_flight=50, max_per_second=rate) as run:
        begun = now()
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 10 * rate + 1)))
        await run.until(lambda: len(run.store.recorded) == 10 * rate)
        assert most_in_a_second(run.transport.sent_at) <= rate
        assert 9.5 < now() - begun < 10.5


@in_virtual_time
async def test_reservation_is_loaded_once_its_token_is_there() -> None:
    async with ScriptedPipeline(max_per_second=1) as run:
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 5)))
        await run.until_recorded(1, 2)
        await asyncio.sleep(INTERVAL / 2)
        assert [len(loaded) for loaded in run.store.loaded] == [1, 1]
        assert len(run.transport.sent) == 2
        await run.until_recorded(3, 4)


@in_virtual_time
async def test_retry_spends_a_token() -> None:
    async with ScriptedPipeline(max_per_second=0.01) as run:
        run.transport.script = lambda _: INVALID if len(run.transport.sent) == 1 else OK
        run.store.commit(change(1))
        await run.until_recorded(1)
        assert [later - earlier for earlier, later in pairwise(run.transport.sent_at)] == [pytest.approx(102, abs=0.1)]


@in_virtual_time
async def test_probes_spend_tokens() -> None:
    async with ScriptedPipeline(max_per_second=0.1) as run:
        run.transport.script = lambda _: Failed(429, "HTTP 429", Fault.OVERLOAD)
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 5)))
        await run.until(lambda: len(run.transport.sent) == 4)
        assert min(later - earlier for earlier, later in pairwise(run.transport.sent_at)) > 10
        assert run.pipeline.state.rate_limited_since is None
        run.transport.script = lambda _: OK
        await run.until_recorded(1, 2, 3, 4)


@in_virtual_time
async def test_what_leads_to_no_request_spends_no_token() -> None:
    async with ScriptedPipeline(max_per_second=0.01) as run:
        begun = now()
        run.store.deleted = {f"r{seq}" for seq in range(1, 100)}
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 101)))
        await run.until_recorded(100)
        assert now() - begun < 1.1
        await run.until_recorded(*range(1, 100), state="skipped")


@in_virtual_time
async def test_probe_that_cannot_be_loaded_spends_no_token() -> None:
    async with ScriptedPipeline(max_per_second=0.001) as run:
        begun = now()
        run.store.unreadable = {"a", "b", "c"}
        run.store.commit(change(1, "a"), change(2, "b"), change(3, "c"))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        run.store.unreadable = set()
        await run.until(lambda: len(run.transport.sent) == 1)
        assert now() - begun < 100


@in_virtual_time
async def test_token_of_a_request_that_was_not_sent_is_given_back() -> None:
    async with ScriptedPipeline(max_per_second=0.01) as run:
        begun = now()
        run.transport.withheld = 3
        run.store.commit(change(1), change(2, "other"))
        await run.until_recorded(1)
        assert now() - begun < 1.1
        assert run.store.loaded == [["r"]] * 4
        await run.until_recorded(2)
        assert now() - begun > 100


@in_virtual_time
async def test_endpoint_that_waits_for_a_token_is_not_stalled() -> None:
    async with ScriptedPipeline(max_per_second=0.001) as run:
        run.store.commit(change(1), change(2, "other"))
        await run.until_recorded(1)
        await asyncio.sleep(1000)
        assert run.pipeline.stalled_since is None
        await run.until_recorded(2)


@in_virtual_time
async def test_probe_that_waits_for_a_token_is_not_stalled() -> None:
    async with ScriptedPipeline(max_per_second=0.001) as run:
        run.transport.script = lambda _: Failed(429, "HTTP 429", Fault.OVERLOAD)
        run.store.commit(change(1))
        await run.until(lambda: run.pipeline.state.failing_since is not None)
        await asyncio.sleep(1000)
        assert run.pipeline.stalled_since is None
        run.transport.script = lambda _: OK
        await run.until_recorded(1)


@in_virtual_time
async def test_request_that_is_not_sent_though_there_is_a_token_counts_as_stalled_since_then() -> None:
    async with ScriptedPipeline(max_per_second=0.01) as run:
        run.store.commit(change(1), change(2, "other"))
        await run.until_recorded(1)
        (first,) = run.transport.sent_at
        run.registration.renew(Registration.now() - 3600, 1)
        await asyncio.sleep(200)
        assert run.pipeline.stalled_since == pytest.approx(first + 102, abs=0.1)
        run.registration.renew(Registration.now(), 3600)
        await run.until_recorded(2)


@in_virtual_time
@pytest.mark.parametrize("max_in_flight", [1, 4])
async def test_wait_for_tokens_is_reported_from_its_beginning_until_there_is_nothing_to_wait_for(
    max_in_flight: int,
) -> None:
    async with ScriptedPipeline(max_in_flight=max_in_flight, max_per_second=2) as run:
        assert run.pipeline.state.rate_limited_since is None
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 11)))
        await run.until_recorded(1)
        since = run.pipeline.state.rate_limited_since
        assert since is not None
        await run.until_recorded(*range(1, 10))
        assert run.pipeline.state.rate_limited_since == since
        await run.until_recorded(10)
        await asyncio.sleep(0)
        assert run.pipeline.state.rate_limited_since is None


@in_virtual_time
async def test_endpoint_that_is_slower_than_its_limit_is_not_limited_by_it() -> None:
    async with ScriptedPipeline(max_in_flight=1, max_per_second=100) as run:
        run.store.commit(change(1, "r1"), change(2, "r2"), change(3, "r3"))
        run.transport.gate.shut()
        for seq in (1, 2, 3):
            await run.until(lambda: run.transport.gate.waiting == 1)
            await asyncio.sleep(60)
            run.transport.gate.open()
            run.transport.gate.shut()
            await run.until_recorded(seq)
            assert run.pipeline.state.rate_limited_since is None


@in_virtual_time
async def test_endpoint_without_a_limit_is_not_limited() -> None:
    async with ScriptedPipeline(max_in_flight=1) as run:
        run.store.commit(*(change(seq, f"r{seq}") for seq in range(1, 11)))
        await run.until_recorded(5)
        assert run.pipeline.state.rate_limited_since is None
        await run.until_recorded(*range(1, 11))
