"""One daemon with many endpoints: its start, idle, one change at a time, and once all have had a delivery."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import psycopg

from tests.bench.drains import change
from tests.bench.endpoints.hosted import add_endpoints, hosted, until_calm, until_leased
from tests.bench.latency import arrivals, commit_one
from tests.bench.receiver import Receiver, started_receiver
from tests.bench.scale import Scale
from tests.bench.stage import RESERVATIONS, Stage, until
from tests.bench.upkeep import statements_sent
from tests.bench.usage import resident_megabytes
from tests.support.bridge import Bridge
from tests.support.databases import Database

_WARMING_UP = 10
_LOOKS_BEFORE_IDLE = 25
_DELIVERED_TO = "select count(distinct endpoint_id) from cdc_bridge.delivery where state = 'delivered'"


@dataclass(frozen=True)
class Idle:
    """What a daemon with nothing to do uses up."""

    statements_a_minute: float
    daemon_part: float
    """Of a processor."""
    part: float
    """Of a processor, that of PostgreSQL included."""
    megabytes: float


@dataclass(frozen=True)
class Running:
    """What was found of a daemon with so many endpoints."""

    leased_seconds: float
    """From the start of its process until it had leased all."""
    idle: Idle
    milliseconds: Sequence[float]
    """From the commit to the request."""
    cost_milliseconds: float
    """Processor time of daemon and PostgreSQL for a change, its own write included, what is used up idle not."""
    megabytes: float
    """Once all endpoints have had a delivery."""


async def measure_running(stage: Stage, endpoints: int, scale: Scale) -> Running:
    """Start a daemon and see what it does."""
    stage.say(f"a daemon with {endpoints:,} endpoints")
    async with AsyncExitStack() as stack:
        database = hosted(stage, stack)
        receiver = await stack.enter_async_context(started_receiver(stage.certificate.chain_and_key_file))
        add_endpoints(stage, database, endpoints, f"{receiver.url}/0")
        began = time.monotonic()
        daemon = await stack.enter_async_context(stage.daemon(database))
        await until_leased(database, daemon, endpoints)
        leased_seconds = time.monotonic() - began
        idle = await _measure_idle(stage, database, daemon, scale.idle_seconds)
        await _one_by_one(database, receiver, daemon, _WARMING_UP, scale.endpoint_seconds)
        usage, began = stage.usage(daemon), time.monotonic()
        milliseconds = await _one_by_one(database, receiver, daemon, scale.idle_changes, scale.endpoint_seconds)
        usage.note()
        used = usage.daemon_seconds + usage.postgres_seconds - idle.part * (time.monotonic() - began)
        await asyncio.to_thread(change, database, endpoints)
        await until(
            lambda: database.value(_DELIVERED_TO) == endpoints, f"a delivery to each of {endpoints:,} endpoints"
        )
        await until_calm(daemon, _LOOKS_BEFORE_IDLE)
        return Running(
            leased_seconds, idle, milliseconds, 1000 * used / len(milliseconds), resident_megabytes(daemon.pid)
        )


async def _measure_idle(stage: Stage, database: Database, daemon: Bridge, seconds: int) -> Idle:
    await until_calm(daemon, _LOOKS_BEFORE_IDLE)
    statements, usage = statements_sent(database), stage.usage(daemon)
    await asyncio.sleep(seconds)
    usage.note()
    return Idle(
        (statements_sent(database) - statements) * 60 / seconds,
        usage.daemon_seconds / seconds,
        (usage.daemon_seconds + usage.postgres_seconds) / seconds,
        resident_megabytes(daemon.pid),
    )


async def _one_by_one(
    database: Database, receiver: Receiver, daemon: Bridge, changes: int, at_most_seconds: float
) -> list[float]:
    """Commit changes for endpoints at random, each when the daemon is idle again; return their times."""
    committed: dict[str, int] = {}
    deadline = time.monotonic() + at_most_seconds
    with psycopg.connect(database.url) as connection:
        for number in random.sample(range(1, RESERVATIONS + 1), changes):
            reservation_id, at = await asyncio.to_thread(commit_one, connection, number)
            committed[reservation_id] = at
            await until_calm(daemon)
            if time.monotonic() > deadline:
                break
    arrived = await arrivals(receiver, committed)
    return [(arrived[reservation_id] - at) / 1e6 for reservation_id, at in committed.items()]
