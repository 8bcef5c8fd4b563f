"""What an open dashboard costs the deliveries, and how fast its pages load with a large delivery log."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from cdc_bridge.demo.ports import free_port
from tests.bench.drains import drain, prepare
from tests.bench.figures import Goal, Measured, alone, by_turns, compared
from tests.bench.scale import Scale
from tests.bench.stage import Stage
from tests.support.page import TOKEN, Visitor

_WINDOWS = ("/", "/deliveries", "/endpoints/default")
_REFRESH_EVERY_SECONDS = 2.0  # as the dashboard's script does
_TIMES = 10
_DELIVERY_LOG = """
insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures)
select 1, n, 'R' || n % 50000, 'U', now() - ({rows} - n) * interval '1 second',
  case when n % 1000 = 0 then 'dead' else 'delivered' end, 1, 0
from generate_series(1, {rows}) as n
"""
_PAGES = {
    "endpoints": "/",
    "latest deliveries": "/deliveries",
    "dead letters": "/deliveries?state=dead",
    "of a reservation": "/deliveries?search=R4711",
    "of a state that nothing is in": "/deliveries?state=skipped",
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


async def _refresh(port: int, path: str) -> None:
    while True:
        try:
            async with _signed_in(port) as visitor:
                while True:
                    await visitor.get(path, headers={"x-refresh": "1"})
                    await asyncio.sleep(_REFRESH_EVERY_SECONDS)
        except OSError:  # The daemon is not up yet, or has ended.
            await asyncio.sleep(0.1)


async def measure_dashboard(stage: Stage, scale: Scale) -> Measured:
    """Draining with dashboard windows open and without; and each page with a large delivery log."""
    stage.say(f"draining {scale.drained:,} changes with {len(_WINDOWS)} dashboard windows open")

    async def drained(windows: tuple[str, ...]) -> float:
        port = free_port()
        settings = {"CDC_BRIDGE_WEB_PORT": str(port), "CDC_BRIDGE_WEB_TOKEN": TOKEN}
        async with AsyncExitStack() as stack:
            database = await asyncio.to_thread(prepare, stage, stack, scale.drained)
            url = await stack.enter_async_context(stage.receiver())
            refreshing = [asyncio.create_task(_refresh(port, path)) for path in windows]
            try:
                return await drain(stage, database, url, scale.drained, None, **settings)
            finally:
                for task in refreshing:
                    task.cancel()
                await asyncio.gather(*refreshing, return_exceptions=True)

    found = await by_turns(scale.rounds, {"watched": lambda: drained(_WINDOWS), "alone": lambda: drained(())})
    lines = [
        compared(
            f"draining, {len(_WINDOWS)} dashboard windows open", "/s", found["watched"], "without", found["alone"],
            Goal("at least", 0.95),
        ),
        *[
            alone(f"dashboard, {scale.dead_rows:,} deliveries in the log: {name}", "ms", times)
            for name, times in (await _load_times(stage, scale)).items()
        ],
    ]  # fmt: skip
    return Measured(lines)


async def _load_times(stage: Stage, scale: Scale) -> dict[str, list[float]]:
    stage.say(f"loading pages with {scale.dead_rows:,} deliveries in the log")
    port, times = free_port(), {}
    with stage.database("bridge") as database:
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(stage.receiver())
            settings = {"CDC_BRIDGE_WEB_PORT": str(port), "CDC_BRIDGE_WEB_TOKEN": TOKEN}
            await stack.enter_async_context(stage.daemon(database, url, **settings))
            await asyncio.to_thread(database.execute, _DELIVERY_LOG.format(rows=scale.dead_rows))
            await asyncio.to_thread(database.execute, "vacuum analyze cdc_bridge.delivery")
            visitor = await stack.enter_async_context(_signed_in(port))
            for name, path in _PAGES.items():
                samples = []
                for _ in range(_TIMES):
                    began = time.monotonic()
                    response = await visitor.get(path)
                    samples.append(1000 * (time.monotonic() - began))
                    assert response.status == 200, (path, response.text)
                times[name] = [statistics.median(samples)]
    return times
