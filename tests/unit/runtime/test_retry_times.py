"""When idle endpoints are woken for their retries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.model import EndpointId, History, Seq
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.runtime.retry_times import RetryTimes
from cdc_bridge.tasks import end
from tests.unit.pipeline.scripted import position
from tests.unit.pipeline.virtual_time import in_virtual_time
from tests.unit.runtime.scripted import SERVER, TILL, ScriptedPipeline, ScriptedTransport


def now() -> float:
    return asyncio.get_running_loop().time()


class Rows:
    def __init__(self, rows: list[tuple[EndpointId, float]]) -> None:
        self._rows = rows

    async def fetchall(self) -> list[tuple[EndpointId, float]]:
        return self._rows


class DueTimes:
    """The delivery log, as far as it says when retries are due; takes some time to say so."""

    def __init__(self) -> None:
        self.due_at: dict[int, float] = {}
        self.asked: list[set[int]] = []
        self.seconds = 0.01

    async def patiently(self, operation: Callable[[Any], Awaitable[Any]]) -> Any:
        found = await operation(self)
        await asyncio.sleep(self.seconds)
        return found

    async def execute(self, _: str, parameters: dict[str, Any]) -> Rows:
        self.asked.append(set(parameters["endpoint_ids"]))
        asked = [endpoint_id for endpoint_id in parameters["endpoint_ids"] if endpoint_id in self.due_at]
        return Rows([(endpoint_id, self.due_at[endpoint_id] - now()) for endpoint_id in asked])


class Bench:
    """Retry times of three idle endpoints, at work."""

    def __init__(self) -> None:
        self.log = DueTimes()
        self.woken: list[tuple[int, float]] = []
        registration = Registration(1, SERVER, History(1))
        self.leased = {
            EndpointId(number): LeasedEndpoint(
                TILL,
                Lease(EndpointId(number), 1, registration),
                None,
                ScriptedTransport(),
                position(0),
                Seq(0),
                None,
                self._open,
            )
            for number in range(3)
        }
        self.times = RetryTimes(self.log, self.leased)  # type: ignore[arg-type]
        self._running = asyncio.create_task(self.times.run())

    def _open(self, leased: LeasedEndpoint) -> ScriptedPipeline:
        self.woken.append((leased.endpoint_id, now()))
        return ScriptedPipeline(leased, lambda: None)

    async def stop(self) -> None:
        if self._running.done():
            self._running.result()
        await end([self._running])


@in_virtual_time
async def test_idle_endpoint_is_woken_when_its_retry_is_due() -> None:
    bench, begun = Bench(), now()
    bench.log.due_at = {0: begun + 7.0, 1: begun - 3.0}
    bench.times.add([EndpointId(0), EndpointId(1), EndpointId(2)])
    await asyncio.sleep(20)
    assert [endpoint_id for endpoint_id, _ in bench.woken] == [1, 0]
    assert begun + 7.0 <= bench.woken[1][1] < begun + 7.1
    await bench.stop()


@in_virtual_time
async def test_endpoint_is_woken_for_what_is_recorded_without_a_statement() -> None:
    bench = Bench()
    await asyncio.sleep(1)
    asked = len(bench.log.asked)
    bench.times.note(EndpointId(2), 30.0)
    bench.times.note(EndpointId(2), 5.0)
    bench.times.note(EndpointId(2), 15.0)
    begun = now()
    await asyncio.sleep(10)
    assert bench.woken == [(2, begun + 5.0)]
    assert len(bench.log.asked) == asked
    await bench.stop()


@in_virtual_time
async def test_all_are_asked_for_once_a_minute_and_on_request() -> None:
    bench = Bench()
    await asyncio.sleep(59)
    assert bench.log.asked == []
    await asyncio.sleep(30)
    assert bench.log.asked == [{0, 1, 2}]
    bench.log.asked.clear()
    bench.times.ask_for_all()
    await asyncio.sleep(1)
    assert bench.log.asked[0] == {0, 1, 2}
    await bench.stop()


@in_virtual_time
async def test_running_pipeline_is_told_to_look_if_something_is_found_for_it() -> None:
    bench = Bench()
    pipeline, other = bench.leased[EndpointId(0)].activate(), bench.leased[EndpointId(1)].activate()
    assert isinstance(pipeline, ScriptedPipeline)
    assert isinstance(other, ScriptedPipeline)
    bench.log.due_at = {0: now() + 5}
    bench.times.ask_for_all()
    await asyncio.sleep(1)
    assert (pipeline.schedule_looks, other.schedule_looks) == (1, 0)
    await bench.stop()


@in_virtual_time
async def test_endpoint_without_a_retry_need_not_ask_the_log() -> None:
    bench = Bench()
    assert not bench.times.has_any(EndpointId(0))
    bench.times.add([EndpointId(0)])
    assert bench.times.has_any(EndpointId(0))
    await asyncio.sleep(1)
    assert not bench.times.has_any(EndpointId(0))
    bench.times.note(EndpointId(0), 100.0)
    assert bench.times.has_any(EndpointId(0))
    await bench.stop()


@in_virtual_time
async def test_endpoint_may_have_a_retry_while_that_is_asked() -> None:
    bench = Bench()
    bench.log.seconds = 5.0
    bench.times.add([EndpointId(0)])
    await asyncio.sleep(2.5)
    assert bench.times.has_any(EndpointId(0))
    await bench.stop()


@in_virtual_time
async def test_retry_that_is_recorded_while_the_log_is_asked_is_made_in_time() -> None:
    bench = Bench()
    bench.log.seconds = 2.0
    bench.times.add([EndpointId(0), EndpointId(1)])
    bench.log.due_at = {1: now() + 1000}
    await asyncio.sleep(1)  # The response is on its way, and knows nothing of these.
    bench.times.note(EndpointId(0), 5.0)
    bench.times.note(EndpointId(1), 5.0)
    begun = now()
    await asyncio.sleep(10)
    assert bench.woken == [(0, begun + 5.0), (1, begun + 5.0)]
    await bench.stop()


@in_virtual_time
async def test_retry_that_is_recorded_while_a_pipeline_asks_the_log_is_made_in_time() -> None:
    bench = Bench()
    asked = bench.times.notes
    bench.times.note(EndpointId(0), 5.0)
    bench.times.reached(EndpointId(0), None, asked)
    assert bench.times.has_any(EndpointId(0))
    bench.times.reached(EndpointId(0), None, bench.times.notes)
    assert not bench.times.has_any(EndpointId(0))
    await bench.stop()


@in_virtual_time
async def test_endpoint_whose_retry_was_superseded_is_not_woken() -> None:
    bench = Bench()
    bench.times.note(EndpointId(0), 5.0)
    bench.times.reached(EndpointId(0), None, bench.times.notes)
    await asyncio.sleep(30)
    assert bench.woken == []
    await bench.stop()


@in_virtual_time
async def test_endpoint_that_stops_or_is_not_leased_any_more_is_not_woken_and_forgotten() -> None:
    bench = Bench()
    for number in range(2):
        bench.times.note(EndpointId(number), 5.0)
    bench.leased[EndpointId(0)].stopping = True
    del bench.leased[EndpointId(1)]
    await asyncio.sleep(10)
    assert bench.woken == []
    del bench.leased[EndpointId(0)]
    await asyncio.sleep(120)
    assert not any(bench.times.has_any(EndpointId(number)) for number in range(3))
    await bench.stop()


@in_virtual_time
async def test_endpoint_is_woken_once_for_a_retry_that_its_pipeline_makes() -> None:
    bench = Bench()
    bench.times.note(EndpointId(0), 5.0)
    await asyncio.sleep(30)
    assert len(bench.woken) == 1
    await bench.stop()


@in_virtual_time
async def test_who_asks_before_the_delivery_log_was_asked_waits_for_it() -> None:
    bench = Bench()
    bench.log.due_at = {1: now() + 100}
    bench.log.seconds = 5.0
    bench.times.add(bench.leased)
    assert all(bench.times.has_any(endpoint_id) for endpoint_id in bench.leased)
    async with asyncio.timeout(6):
        await asyncio.gather(*(bench.times.asked(endpoint_id) for endpoint_id in bench.leased))
    assert [bench.times.has_any(endpoint_id) for endpoint_id in bench.leased] == [False, True, False]
    async with asyncio.timeout(0.1):
        await bench.times.asked(EndpointId(1))
    await bench.stop()
