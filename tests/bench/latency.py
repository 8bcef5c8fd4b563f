"""Latency from the commit to the request."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain, count
from typing import Any

import orjson
import psycopg
from psycopg.rows import TupleRow

from tests.bench.figures import Goal, Line, Measured, alone, compared, percentile
from tests.bench.receiver import Receiver, started_receiver
from tests.bench.scale import Scale
from tests.bench.stage import LOOK_EVERY_SECONDS, PATIENCE_SECONDS, Stage
from tests.support.databases import Database

_PACE_A_SECOND = 500
_IDLE_MILLISECONDS = (40, 80)
"""Between two changes on an idle system: long enough to go to sleep again."""

Contender = Callable[[], Awaitable[list[float]]]


class Listening:
    """A database, a sender of its changes, and the receiver of the requests."""

    def __init__(self, database: Database, receiver: Receiver) -> None:
        self._database = database
        self._receiver = receiver
        self._numbers = count(1)
        self.changes_a_second = 0.0
        """How fast the last changes were committed indeed."""

    async def milliseconds(self, changes: int, pauses_seconds: Iterator[float]) -> list[float]:
        """Commit changes of one reservation each; return how long after its COMMIT was sent each request arrived."""
        numbers = [next(self._numbers) for _ in range(changes)]
        committed = await asyncio.to_thread(_commit, self._database, numbers, pauses_seconds)
        seconds = (max(committed.values()) - min(committed.values())) / 1e9
        self.changes_a_second = changes / seconds
        arrived = await arrivals(self._receiver, committed)
        return [(arrived[reservation_id] - at) / 1e6 for reservation_id, at in committed.items()]


async def arrivals(receiver: Receiver, reservation_ids: Collection[str]) -> dict[str, int]:
    """Wait until these have arrived; return when, by the monotonic clock in ns."""
    arrived: dict[str, int] = {}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not set(reservation_ids) <= arrived.keys():
            arrived |= await receiver.arrived()
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    return arrived


def commit_one(connection: psycopg.Connection[TupleRow], number: int) -> tuple[str, int]:
    """Change one reservation; return it and when its COMMIT was sent, by the monotonic clock in ns."""
    cursor = connection.execute(
        "update public.reservations set adults = 1 + adults %% 9 where reference = %s returning id", [number]
    )
    ((reservation_id,),) = cursor.fetchall()
    at = time.monotonic_ns()
    connection.commit()
    return reservation_id, at


def _commit(database: Database, numbers: list[int], pauses_seconds: Iterator[float]) -> dict[str, int]:
    committed: dict[str, int] = {}
    with psycopg.connect(database.url) as connection:
        due = time.monotonic()
        for number in numbers:
            due += next(pauses_seconds)
            time.sleep(max(0.0, due - time.monotonic()))
            reservation_id, at = commit_one(connection, number)
            committed[reservation_id] = at
    return committed


def seldom() -> Iterator[float]:
    while True:
        yield random.uniform(*_IDLE_MILLISECONDS) / 1000


def _often() -> Iterator[float]:
    while True:
        yield 1 / _PACE_A_SECOND


async def measure_latency(stage: Stage, scale: Scale) -> Measured:
    """From COMMIT to the request, on an idle system and under load, beside a bare LISTEN and one POST."""
    idle: dict[str, list[list[float]]] = {"bridge": [], "bare": []}
    loaded: list[list[float]] = []
    paces: list[float] = []
    async with AsyncExitStack() as stack:
        receivers = [
            await stack.enter_async_context(started_receiver(stage.certificate.chain_and_key_file)) for _ in range(2)
        ]
        ours, bare = stack.enter_context(stage.database("bridge")), stack.enter_context(stage.database("naive"))
        for database in (ours, bare):
            database.execute("create index on public.reservations (reference)")
        daemon = await stack.enter_async_context(stage.daemon(ours, f"{receivers[0].url}/0"))
        await daemon.wait_for_log("listening")
        await stack.enter_async_context(bare_listener(stage, bare, f"{receivers[1].url}/0"))
        contenders = {"bridge": Listening(ours, receivers[0]), "bare": Listening(bare, receivers[1])}
        for listening in contenders.values():
            await listening.milliseconds(20, seldom())  # connections are made
        for turn in range(scale.rounds):
            stage.say("from commit to request")
            for name in contenders if turn % 2 == 0 else reversed(contenders):
                idle[name].append(await contenders[name].milliseconds(scale.idle_changes, seldom()))
            loaded.append(await contenders["bridge"].milliseconds(scale.paced_seconds * _PACE_A_SECOND, _often()))
            paces.append(contenders["bridge"].changes_a_second)
    return Measured(
        [*_lines(idle, loaded), alone("changes a second meanwhile", "/s", paces)],
        {
            "bridge, idle": list(chain(*idle["bridge"])),
            "bare LISTEN and POST, idle": list(chain(*idle["bare"])),
            f"bridge, {_PACE_A_SECOND} changes a second": list(chain(*loaded)),
        },
    )


def _lines(idle: dict[str, list[list[float]]], loaded: list[list[float]]) -> list[Line]:
    def at(rounds: list[list[float]], percent: float) -> list[float]:
        return [percentile(samples, percent) for samples in rounds]

    bare = "bare LISTEN and POST"
    under_load = f"commit to request, {_PACE_A_SECOND} changes a second"
    return [
        compared(
            "commit to request, idle, p50",
            "ms",
            at(idle["bridge"], 50),
            bare,
            at(idle["bare"], 50),
            Goal("at most", 1.5),
        ),
        compared(
            "commit to request, idle, p99", "ms", at(idle["bridge"], 99), bare, at(idle["bare"], 99), Goal("at most", 2)
        ),
        compared(f"{under_load}, p50", "ms", at(loaded, 50), "idle", at(idle["bridge"], 50)),
        compared(f"{under_load}, p99", "ms", at(loaded, 99), "idle", at(idle["bridge"], 99), Goal("at most", 3)),
    ]


@asynccontextmanager
async def bare_listener(stage: Stage, database: Database, url: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.reference", "listen",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    task: dict[str, Any] = {
        "url": url,
        "ca_file": str(stage.certificate.ca_file),
        "database_url": database.url,
        "body": "x" * 2000,
    }
    try:
        process.stdin.write(orjson.dumps(task) + b"\n")
        assert await process.stdout.readline() == b"listening\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()
