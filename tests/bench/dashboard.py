"""What an open dashboard costs the deliveries, and how fast its pages are served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from cdc_bridge.demo.ports import free_port
from tests.bench.drains import drain, prepare
from tests.bench.figures import Goal, Measured, by_turns, compared
from tests.bench.pages import page_times
from tests.bench.scale import Scale
from tests.bench.stage import Stage
from tests.support.page import TOKEN, Visitor

_WINDOWS = ("/", "/deliveries", "/endpoints/default")
_REFRESH_EVERY_SECONDS = 2.0  # as the dashboard's script does


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
    """Draining with dashboard windows open and without; and each page with a thousand endpoints and long logs."""
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
        *await page_times(stage, scale),
    ]  # fmt: skip
    return Measured(lines)
