"""Two daemons on one database, one of which is killed: how long until the other has leased all endpoints."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

from tests.bench.endpoints.hosted import add_endpoints, hosted, until_calm, until_leased
from tests.bench.stage import Stage, until
from tests.support.restaurants import leased


async def measure_takeover(stage: Stage, endpoints: int) -> float:
    """Kill the one of two daemons that has leased most; return the seconds."""
    stage.say(f"one of two daemons is killed, {endpoints:,} endpoints")
    async with AsyncExitStack() as stack:
        database = hosted(stage, stack)
        url = await stack.enter_async_context(stage.receiver())
        add_endpoints(stage, database, endpoints, url)
        first = await stack.enter_async_context(stage.daemon(database))
        await until_leased(database, first, endpoints)
        second = await stack.enter_async_context(stage.daemon(database))
        await second.wait_for_log("listening")
        for daemon in (first, second):
            await until_calm(daemon)
        await until(lambda: sum(leased(database).values()) == endpoints, "all endpoints leased")
        shares = leased(database)
        killed, other = sorted((first, second), key=lambda daemon: -shares.get(daemon.pid, 0))
        stage.say(f"the killed one has {shares[killed.pid]:,} of {endpoints:,} endpoints")
        began = time.monotonic()
        await killed.kill()
        await until_leased(database, other, endpoints)
        return time.monotonic() - began
