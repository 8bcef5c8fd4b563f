"""What somebody who looks at the page costs the deliveries, and how soon pages come with a large ledger."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.bench.drains import drain, prepare
from tests.bench.figures import Goal, Measured, alone, by_turns, compared
from tests.bench.scale import Scale
from tests.bench.stage import Stage
from tests.support.http import free_port
from tests.support.page import TOKEN, Visitor

_WINDOWS = ("/", "/deliveries", "/endpoints/default")
_REFRESH_EVERY_SECONDS = 2.0  # as the page's script does
_TIMES = 10
_A_LEDGER = """
insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures)
select 1, n, 'R' || n % 50000, 'U', now() - ({rows} - n) * interval '1 second',
  case when n % 1000 = 0 then 'dead' else 'delivered' end, 1, 0
from generate_series(1, {rows}) as n
"""
_PAGES = {
    "endpoints": "/",
    "latest deliveries": "/deliveries",
    "dead letters": "/deliveries?state=dead",
    "of a reservation": "/deliveries?reservation=R4711",
    "of a state that nothing is in": "/deliveries?state=gone",
    "until a time long ago": "/deliveries?until=2000-01-01",
    "one endpoint": "/endpoints/default",
    "one delivery": "/deliveries/default/4711",
}


@asynccontextmanager
async def _signed_in(port: int) -> AsyncIterator[Visitor]:
    visitor = Visitor(port)
    try:
        await visitor.sign_in()
        yield visitor
    finally:
        await visitor.close()


async def _look_again_and_again(port: int, path: str) -> None:
    while True:
        try:
            async with _signed_in(port) as visitor:
                while True:
                    await visitor.get(path, headers={"x-refresh": "1"})
                    await asyncio.sleep(_REFRESH_EVERY_SECONDS)
        except OSError:  # The daemon is not up yet, or not any more.
            await asyncio.sleep(0.1)


async def measure_page(stage: Stage, scale: Scale) -> Measured:
    """Draining beside open windows and without; and each page with a large ledger."""
    stage.say(f"draining {scale.drained:,} changes beside {len(_WINDOWS)} windows")

    async def drained(windows: tuple[str, ...]) -> float:
        port = free_port()
        settings = {"CDC_BRIDGE_WEB_PORT": str(port), "CDC_BRIDGE_WEB_TOKEN": TOKEN}
        async with AsyncExitStack() as stack:
            database = await asyncio.to_thread(prepare, stage, stack, scale.drained)
            url = await stack.enter_async_context(stage.receiver())
            looking = [asyncio.create_task(_look_again_and_again(port, path)) for path in windows]
            try:
                return await drain(stage, database, url, scale.drained, None, **settings)
            finally:
                for task in looking:
                    task.cancel()
                await asyncio.gather(*looking, return_exceptions=True)

    found = await by_turns(scale.rounds, {"watched": lambda: drained(_WINDOWS), "alone": lambda: drained(())})
    lines = [
        compared(
            f"draining beside {len(_WINDOWS)} windows with the page", "/s", found["watched"], "without", found["alone"],
            Goal("at least", 0.95),
        ),
        *[
            alone(f"page with {scale.dead_rows:,} deliveries in the ledger: {name}", "ms", times)
            for name, times in (await _answer_times(stage, scale)).items()
        ],
    ]  # fmt: skip
    return Measured(lines)


async def _answer_times(stage: Stage, scale: Scale) -> dict[str, list[float]]:
    stage.say(f"asking for pages with {scale.dead_rows:,} deliveries in the ledger")
    port, times = free_port(), {}
    with stage.database("bridge") as database:
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(stage.receiver())
            settings = {"CDC_BRIDGE_WEB_PORT": str(port), "CDC_BRIDGE_WEB_TOKEN": TOKEN}
            await stack.enter_async_context(stage.daemon(database, url, **settings))
            await asyncio.to_thread(database.execute, _A_LEDGER.format(rows=scale.dead_rows))
            await asyncio.to_thread(database.execute, "vacuum analyze cdc_bridge.delivery")
            visitor = await stack.enter_async_context(_signed_in(port))
            for name, path in _PAGES.items():
                samples = []
                for _ in range(_TIMES):
                    began = time.monotonic()
                    answer = await visitor.get(path)
                    samples.append(1000 * (time.monotonic() - began))
                    assert answer.status == 200, (path, answer.text)
                times[name] = [statistics.median(samples)]
    return times
