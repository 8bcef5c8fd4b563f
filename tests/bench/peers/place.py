"""Where one of them is measured: a database with its capture, a receiver, and its worker between them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict

from cdc_bridge.demo.throwaway_postgres import end_with_parent
from tests.bench.latency import commit_one
from tests.bench.peers.environment import python_of
from tests.bench.peers.peer import Peer
from tests.bench.peers.workers.posting import IN_FLIGHT
from tests.bench.receiver import Receiver, started_receiver
from tests.bench.stage import PATIENCE_SECONDS, RESERVATIONS, Stage
from tests.support.databases import Database
from tests.support.launcher import PROJECT

_PROBE_SECONDS = 1.0
_STOP_SECONDS = 30.0


class Worker(Protocol):
    """A running worker."""

    @property
    def pid(self) -> int: ...

    @property
    def running(self) -> bool: ...

    async def kill(self) -> None:
        """Kill it with SIGKILL."""


class Place:
    """Capture, database and receiver of a peer."""

    def __init__(self, stage: Stage, peer: Peer, database: Database, receiver: Receiver) -> None:
        self.stage = stage
        self.peer = peer
        self.database = database
        self.receiver = receiver
        self._probes = count(RESERVATIONS, -1)
        """Reservations that no measure is about, each changed once."""
        self._folder = stage.folder / database.name
        self._folder.mkdir()

    def running(self) -> AbstractAsyncContextManager[Worker]:
        """Run the worker, which begins with what there is."""
        return self._daemon() if self.peer.worker is None else self._process(self.peer.worker)

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[Worker]:
        """Run the worker; it has been seen to deliver when the block begins."""
        async with self.running() as worker:
            await self._until_delivering(worker)
            yield worker

    def set_up(self) -> None:
        """Set up the capture in the database."""
        for arguments in self.peer.set_up:
            command: list[str | Path] = [python_of(self.peer), *arguments]
            ended = subprocess.run(
                command, env=self._environment(), cwd=self._folder, capture_output=True, text=True, check=False
            )
            if ended.returncode:
                raise RuntimeError(f"{self.peer.name} cannot be set up: {ended.stdout}{ended.stderr}")
        if self.peer.trigger:
            self.database.execute(self.peer.trigger)
        self.database.execute("create index on public.reservations (reference)")

    def pending(self) -> int:
        """Return how many changes the peer still has to deliver, as far as it knows."""
        return int(self.database.value(self.peer.pending))

    @asynccontextmanager
    async def _daemon(self) -> AsyncIterator[Worker]:
        settings = {"CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT": str(IN_FLIGHT)}
        async with self.stage.daemon(self.database, f"{self.receiver.url}/0", **settings) as daemon:
            yield daemon

    @asynccontextmanager
    async def _process(self, arguments: Sequence[str]) -> AsyncIterator[Worker]:
        with (self._folder / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                python_of(self.peer), *arguments,
                env=self._environment(), cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=end_with_parent,
            )  # fmt: skip
        worker = _Process(process)
        try:
            yield worker
            if not (worker.running or worker.killed):
                raise RuntimeError(f"{self.peer.name} ended before its time: {self._log_tail()}")
        finally:
            await worker.stop()

    def _environment(self) -> dict[str, str]:
        way_in = conninfo_to_dict(self.database.url)
        return os.environ | {
            "PYTHONPATH": str(PROJECT),
            "PGHOST": str(way_in["host"]),
            "PGPORT": str(way_in["port"]),
            "PGUSER": str(way_in["user"]),
            "PGPASSWORD": str(way_in["password"]),
            "PGDATABASE": self.database.name,
            "RECEIVER_URL": f"{self.receiver.url}/0",
            "CA_FILE": str(self.stage.certificate.ca_file),
        }

    async def _until_delivering(self, worker: Worker) -> None:
        """Change one reservation after the other until one arrives: nobody may listen yet when the first is changed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        probes: set[str] = set()
        while not await self._arrives(probes):
            if not worker.running or time.monotonic() > deadline:
                raise RuntimeError(f"{self.peer.name} delivers nothing: {self._log_tail()}")

    async def _arrives(self, probes: set[str]) -> bool:
        """Change one more; return whether one of them arrives soon."""
        probes.add(await asyncio.to_thread(self._change, next(self._probes)))
        deadline = time.monotonic() + _PROBE_SECONDS
        while time.monotonic() < deadline:
            if not probes.isdisjoint(await self.receiver.arrived()):
                return True
            await asyncio.sleep(0.05)
        return False

    def _change(self, number: int) -> str:
        with psycopg.connect(self.database.url) as connection:
            return commit_one(connection, number)[0]

    def _log_tail(self) -> str:
        log = self._folder / "log"
        return log.read_text(errors="replace")[-3000:] if log.exists() else "see its log"


class _Process:
    """A peer's worker."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.killed = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def kill(self) -> None:
        self.killed = True
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """End it with SIGTERM, or if that takes too long with SIGKILL."""
        if not self.running:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            await self.kill()


@asynccontextmanager
async def place(stage: Stage, peer: Peer) -> AsyncIterator[Place]:
    """Make a place; its worker has run once and is stopped, as the slot of some begins with that."""
    async with AsyncExitStack() as stack:
        database = stack.enter_context(stage.database(peer.capture))
        receiver = await stack.enter_async_context(started_receiver(stage.certificate.chain_and_key_file))
        made = Place(stage, peer, database, receiver)
        await asyncio.to_thread(made.set_up)
        async with made.delivering():
            pass
        await asyncio.to_thread(database.execute, "vacuum analyze")
        stage.checkpoint()
        yield made
