"""A database with an endpoint for each restaurant, and waiting for its daemons."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack

from tests.bench.drains import IN_FLIGHT
from tests.bench.stage import PATIENCE_SECONDS, Stage
from tests.bench.usage import processor_seconds
from tests.support.bridge import HEADER, SECRET, Bridge
from tests.support.databases import Database
from tests.support.restaurants import add_restaurants, leased

_CALM_MILLISECONDS = (40, 80)
"""Length of a look: two of them are long enough for a daemon to go to sleep again."""
_CALM_PART = 0.1
"""Of a processor."""
_CALM_WITHIN_SECONDS = 60.0
_SLEEPS_FOR_A_LOOK = 4


def hosted(stage: Stage, stack: AsyncExitStack) -> Database:
    """Return a database that lasts as long as the stack, without endpoints."""
    database = stack.enter_context(stage.database("bridge"))
    database.execute("create index on public.reservations (reference)")
    return database


def add_endpoints(stage: Stage, database: Database, endpoints: int, url: str) -> None:
    """Add so many endpoints, with the options that the measures of one endpoint have."""
    add_restaurants(
        database, endpoints, [url], stage.certificate.ca_file, secret=SECRET, headers=(HEADER,), max_in_flight=IN_FLIGHT
    )


async def until_leased(database: Database, daemon: Bridge, endpoints: int) -> None:
    """Wait until a daemon has leased all endpoints, looking for a fifth of the time at most."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        began = time.monotonic()
        now = await asyncio.to_thread(leased, database)
        if now == {daemon.pid: endpoints}:
            return
        if began > deadline:
            raise RuntimeError(f"not within {PATIENCE_SECONDS:g} s: {endpoints:,} endpoints leased, but {now}")
        await asyncio.sleep(max(0.02, _SLEEPS_FOR_A_LOOK * (time.monotonic() - began)))


async def until_calm(daemon: Bridge, looks: int = 2) -> None:
    """Wait until a daemon has done next to nothing for so many looks in a row, or for a minute."""
    calm, used, deadline = 0, processor_seconds(daemon.pid), time.monotonic() + _CALM_WITHIN_SECONDS
    while calm < looks and time.monotonic() < deadline:
        seconds = random.uniform(*_CALM_MILLISECONDS) / 1000
        await asyncio.sleep(seconds)
        before, used = used, processor_seconds(daemon.pid)
        calm = calm + 1 if used - before < _CALM_PART * seconds else 0
