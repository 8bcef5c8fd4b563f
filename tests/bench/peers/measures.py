"""The measures, each of all peers by turns: writers, latency, drain, kill -9."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import psycopg

from tests.bench.drains import a_message, change, post_bare
from tests.bench.figures import by_turns
from tests.bench.latency import Listening, arrivals, bare_listener, commit_one, seldom
from tests.bench.peers.account import Account, account
from tests.bench.peers.peer import Peer
from tests.bench.peers.place import Place, place
from tests.bench.peers.results import REFERENCE, WRITERS, Drain
from tests.bench.receiver import started_receiver
from tests.bench.stage import LOOK_EVERY_SECONDS, PATIENCE_SECONDS, Stage
from tests.bench.usage import family_processor_seconds, processor_seconds
from tests.bench.writers import ONE_UPDATE
from tests.support.databases import Database

_WARM_UP = 20
_LOOK_CLOSELY_SECONDS = 0.02
_STALLED_SECONDS = 120.0
"""Without a request, after which what is in a queue stays there: longer than any of them waits for a killed worker."""
_QUIET_SECONDS = 10.0
"""Without a request, after which nothing more comes if the peer has nothing in its queue."""


@dataclass(frozen=True)
class PeersScale:
    """So many rounds, so long, so much."""

    rounds: int
    writing_seconds: int
    idle_changes: int
    drained: int
    killed: int


FULL = PeersScale(rounds=3, writing_seconds=5, idle_changes=300, drained=10_000, killed=5000)
QUICK = PeersScale(rounds=1, writing_seconds=2, idle_changes=50, drained=5000, killed=1500)


@dataclass(frozen=True)
class Run:
    """What the measures have in common."""

    usual: Stage
    logical: Stage | None
    """The same with ``wal_level = logical``, for those who need that."""
    peers: Sequence[Peer]
    scale: PeersScale

    def stage_of(self, peer: Peer) -> Stage:
        """Return the server on which a peer is measured."""
        if not peer.logical_wal:
            return self.usual
        assert self.logical is not None
        return self.logical


async def measure_commits(run: Run) -> dict[str, list[float]]:
    """Commits a second of 16 writers; no worker runs, so that what is seen is the capture alone.

    The reference writes without capture on the usual server. So what logical WAL costs is charged to those who need it.
    """
    async with AsyncExitStack() as stack:
        database = stack.enter_context(run.usual.database("none"))
        database.execute("create index on public.reservations (reference)")  # The others have it too.
        turns = {REFERENCE: partial(_commits, run.usual, database, run.scale)}
        for peer in run.peers:
            stage = run.stage_of(peer)
            at = await stack.enter_async_context(place(stage, peer))
            turns[peer.key] = partial(_commits, stage, at.database, run.scale)
        run.usual.say(f"{WRITERS} writers")
        return await by_turns(run.scale.rounds, turns)


async def _commits(stage: Stage, database: Database, scale: PeersScale) -> float:
    def write() -> float:
        database.execute("vacuum public.reservations")
        stage.checkpoint()
        return stage.pgbench(database, ONE_UPDATE, clients=WRITERS, seconds=scale.writing_seconds).transactions_a_second

    return await asyncio.to_thread(write)


async def measure_latency(run: Run) -> dict[str, list[list[float]]]:
    """Milliseconds from COMMIT to the request, on an idle system."""

    async def of_peer(at: Place, listening: Listening) -> list[float]:
        run.usual.say(f"from commit to request: {at.peer.name}")
        async with at.delivering():
            await listening.milliseconds(_WARM_UP, seldom())
            return await listening.milliseconds(run.scale.idle_changes, seldom())

    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(started_receiver(run.usual.certificate.chain_and_key_file))
        database = stack.enter_context(run.usual.database("naive"))
        database.execute("create index on public.reservations (reference)")
        bare = Listening(database, receiver)

        async def of_bare() -> list[float]:
            async with bare_listener(run.usual, database, f"{receiver.url}/0"):
                await bare.milliseconds(_WARM_UP, seldom())
                return await bare.milliseconds(run.scale.idle_changes, seldom())

        turns: dict[str, Callable[[], Awaitable[list[float]]]] = {REFERENCE: of_bare}
        for peer in run.peers:
            at = await stack.enter_async_context(place(run.stage_of(peer), peer))
            turns[peer.key] = partial(of_peer, at, Listening(at.database, at.receiver))
        return await by_turns(run.scale.rounds, turns)


async def measure_drain(run: Run) -> dict[str, list[Drain]]:
    """A backlog that a worker finds when it starts, beside a bare client that posts the bridge's bytes."""
    count = run.scale.drained
    message = await a_message(run.usual)

    async def of_peer(peer: Peer) -> Drain:
        run.usual.say(f"draining {count:,} changes: {peer.name}")
        async with place(run.stage_of(peer), peer) as at:
            await asyncio.to_thread(change, at.database, count)
            await asyncio.to_thread(at.database.execute, "vacuum analyze")
            at.stage.checkpoint()
            return await _drain(at, _ids_of_first(at.database, count))

    async def of_bare() -> Drain:
        async with started_receiver(run.usual.certificate.chain_and_key_file) as receiver:
            per_second, seconds = await post_bare(run.usual, f"{receiver.url}/0", message, count)
        return Drain(per_second, 1e6 * seconds / count, 0.0)

    turns: dict[str, Callable[[], Awaitable[Drain]]] = {REFERENCE: of_bare}
    turns |= {peer.key: partial(of_peer, peer) for peer in run.peers if peer.keeps_backlog}
    return await by_turns(run.scale.rounds, turns)


async def _drain(at: Place, reservation_ids: Collection[str]) -> Drain:
    """Have them delivered; the worker's start does not count, but what PostgreSQL does for it does."""
    await at.receiver.arrived()
    postgres_before = family_processor_seconds(at.stage.postgres.pid)
    async with at.running() as worker:
        arrived: dict[str, int] = {}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not arrived:
                arrived = await at.receiver.arrived()
                await asyncio.sleep(_LOOK_CLOSELY_SECONDS)
        worker_before = processor_seconds(worker.pid)
        left = set(reservation_ids) - arrived.keys()
        arrived |= await arrivals(at.receiver, left)
        worker_seconds = processor_seconds(worker.pid) - worker_before
        postgres_seconds = family_processor_seconds(at.stage.postgres.pid) - postgres_before
    times = [arrived[reservation_id] for reservation_id in reservation_ids]
    return Drain(
        1e9 * (len(times) - 1) / (max(times) - min(times)),
        1e6 * worker_seconds / len(left),
        1e6 * postgres_seconds / len(times),
    )


def _ids_of_first(database: Database, count: int) -> list[str]:
    found = database.execute("select id from public.reservations where reference between 1 and %s", [count])
    return [reservation_id for (reservation_id,) in found]


async def measure_kill(run: Run) -> dict[str, list[Account]]:
    """What is lost and repeated if the worker is killed while changes are committed and delivered."""

    async def of_peer(peer: Peer) -> Account:
        run.usual.say(f"kill -9 in the middle of {run.scale.killed:,} changes: {peer.name}")
        async with place(run.stage_of(peer), peer) as at:
            return await _kill(at, run.scale.killed)

    return await by_turns(run.scale.rounds, {peer.key: partial(of_peer, peer) for peer in run.peers})


async def _kill(at: Place, count: int) -> Account:
    requests: Counter[str] = Counter()

    async def look(seconds: float) -> bool:
        """Count what has arrived since the last look; return whether something has."""
        await asyncio.sleep(seconds)
        new = await at.receiver.counts()
        requests.update(new)
        return bool(new)

    async with at.delivering() as worker:
        writing = asyncio.create_task(asyncio.to_thread(_commit, at.database, count))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(requests) < count // 3:
                await look(_LOOK_CLOSELY_SECONDS)
        await worker.kill()
    committed = await writing
    async with at.delivering():
        last = time.monotonic()
        while True:
            pending = await asyncio.to_thread(at.pending)
            if await look(LOOK_EVERY_SECONDS):
                last = time.monotonic()
            elif not pending and committed <= requests.keys():
                break
            if time.monotonic() - last > (_STALLED_SECONDS if pending else _QUIET_SECONDS):
                break
    return account(committed, requests, pending)


def _commit(database: Database, count: int) -> set[str]:
    """Change so many reservations, one a transaction; return them."""
    with psycopg.connect(database.url) as connection:
        return {commit_one(connection, number)[0] for number in range(1, count + 1)}
