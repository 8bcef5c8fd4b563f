"""The run of a soak test, from an empty server to the verdict."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.soak.accepted import content_of
from tests.soak.daemons import Daemons
from tests.soak.endpoint import Receiver, started_receiver
from tests.soak.plan import ClosedPort, Event, Kill, Outage, Restart, plan
from tests.soak.verdict import Verdict, memory
from tests.soak.writers import WRITTEN, Writers
from tests.support.audit import UNSETTLED
from tests.support.bridge import HEADER, SECRET
from tests.support.databases import Database, create, install_bridge, load_example
from tests.support.restaurants import add_restaurants, leased
from tests.support.server import Server, own_durable_server

_PORTS = 20
_TIMEOUT_SECONDS = 5.0
_LOOK_EVERY_SECONDS = 2.0
_TELL_EVERY_SECONDS = 30.0
_PATIENCE_SECONDS = 300.0
"""Without any progress; a probe of a failing endpoint comes after a minute at the latest."""
_DEAD_LETTERS = "select count(*) from cdc_bridge.delivery where state = 'dead'"


@dataclass(frozen=True)
class Options:
    """How long, how much, and what chance."""

    minutes: float
    endpoints: int
    seed: int
    per_second: float
    """Transactions."""
    folder: Path
    """For the daemons' logs."""

    @property
    def seconds(self) -> float:
        return 60 * self.minutes


class Course:
    """Everything that takes part."""

    def __init__(
        self,
        options: Options,
        postgres: ThrowawayPostgres,
        database: Database,
        receiver: Receiver,
        daemons: Daemons,
        say: Callable[[str], None],
    ) -> None:
        self._options = options
        self._postgres = postgres
        self._database = database
        self._receiver = receiver
        self._daemons = daemons
        self._say = say
        self._restarting = asyncio.Lock()
        self._broken: Counter[str] = Counter()

    async def run(self) -> Verdict:
        """Write and break for the whole time, mend everything, and see what became of it."""
        options = self._options
        writers = Writers(self._database, options.seed, restaurants=options.endpoints, per_second=options.per_second)
        await asyncio.to_thread(writers.set_up)
        await self._until_none(self._not_leased, "endpoints are not leased")
        self._say("all endpoints are leased; writing and breaking")
        ended, began = asyncio.Event(), time.monotonic()
        watching = [asyncio.create_task(self._daemons.watch(began)), asyncio.create_task(self._tell())]
        try:
            writing = asyncio.create_task(writers.run(ended))
            await self._carry_out(plan(options.seed, options.seconds, endpoints=options.endpoints, ports=self._ports))
            await asyncio.sleep(max(0.0, began + options.seconds - time.monotonic()))
            ended.set()
            await writing
            self._mend()
            self._say("no more changes; waiting until all are settled")
            last_change = time.monotonic()
            unsettled = await self._until_none(self._unsettled, "changes are not settled")
            settled_after = time.monotonic() - last_change
        finally:
            for task in watching:
                task.cancel()
        return await self._verdict(writers, unsettled, settled_after)

    @property
    def _ports(self) -> int:
        return len(self._receiver.urls)

    async def _carry_out(self, events: list[Event]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for event in events:
                tasks.create_task(self._break(event))

    async def _break(self, event: Event) -> None:
        await asyncio.sleep(event.at)
        match event:
            case Outage(seconds=seconds, mode=mode, endpoints=endpoints):
                self._broken[f"endpoints that {mode}"] += len(endpoints)
                self._receiver.set_mode(mode, endpoints)
                await asyncio.sleep(seconds)
                self._receiver.set_mode("accept", endpoints)
            case ClosedPort(seconds=seconds, port=port):
                self._broken["closed ports"] += 1
                self._receiver.close(port)
                await asyncio.sleep(seconds)
                self._receiver.open(port)
            case Kill(seconds=seconds, daemon=daemon):
                self._broken["killed daemons"] += 1
                await self._daemons.kill(daemon)
                await asyncio.sleep(seconds)
                await self._daemons.start(daemon)
            case Restart(mode=mode):
                async with self._restarting:
                    self._broken[f"{mode} restarts of PostgreSQL"] += 1
                    await asyncio.to_thread(self._postgres.stop, mode)
                    await asyncio.to_thread(self._postgres.start)

    def _mend(self) -> None:
        self._receiver.set_mode("accept", range(self._options.endpoints))
        for port in range(self._ports):
            self._receiver.open(port)

    async def _until_none(self, left: Callable[[], int], what: str) -> int:
        """Wait until nothing is left; give up when it has not become less for long. Return how many are left."""
        fewest, deadline = await asyncio.to_thread(left), time.monotonic() + _PATIENCE_SECONDS
        while fewest > 0 and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            if (now := await asyncio.to_thread(left)) < fewest:
                fewest, deadline = now, time.monotonic() + _PATIENCE_SECONDS
        if fewest > 0:
            self._say(f"given up: {fewest:,} {what}")
        return fewest

    def _not_leased(self) -> int:
        return self._options.endpoints - sum(leased(self._database).values())

    def _unsettled(self) -> int:
        return int(self._database.value(UNSETTLED))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_SECONDS)
            newest = {sample.daemon: sample.megabytes for sample in self._daemons.samples}
            memories = ", ".join(f"{megabytes:.0f} MB" for _, megabytes in sorted(newest.items()))
            told = await self._receiver.tell()
            self._say(f"{told['counts'].get('accepted', 0):,} requests accepted; daemons {memories}")

    async def _verdict(self, writers: Writers, unsettled: int, settled_after_seconds: float) -> Verdict:
        not_leased = self._not_leased()
        await self._daemons.stop()
        written = {
            reservation_id: content_of(reservation_id, version, notes)
            for reservation_id, version, notes in self._database.execute(WRITTEN)
        }
        arrived, told = await self._receiver.contents(), await self._receiver.tell()
        return Verdict(
            counts=told["counts"],
            examples=told["examples"],
            transactions=writers.transactions,
            broken=self._broken,
            written=len(written),
            missing=sorted(id_ for id_, content in written.items() if arrived.get(id_) != content),
            phantom=sorted(arrived.keys() - written.keys()),
            unsettled=unsettled,
            dead_letters=self._database.value(_DEAD_LETTERS),
            not_leased=not_leased,
            settled_after_seconds=settled_after_seconds,
            memory=memory(self._daemons.samples, self._options.seconds),
            crashes=self._daemons.crashes(),
            ended=self._daemons.ended,
        )


async def soak(options: Options, say: Callable[[str], None]) -> Verdict:
    """Set everything up, run it, and take it away again."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="cdc-bridge-soak-")))
        ca, ca_file, certificate = trustme.CA(), folder / "ca.pem", folder / "receiver.pem"
        ca.cert_pem.write_to_path(ca_file)
        ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        say("starting PostgreSQL")
        postgres = stack.enter_context(own_durable_server(None))
        database = create(Server("own", postgres.url, postgres.binaries), "soak")
        load_example(database)
        install_bridge(database)
        receiver = await stack.enter_async_context(
            started_receiver(certificate, options.endpoints, min(_PORTS, options.endpoints))
        )
        add_restaurants(
            database, options.endpoints, receiver.urls, ca_file,
            secret=SECRET, headers=(HEADER,), timeout_seconds=_TIMEOUT_SECONDS,
        )  # fmt: skip
        settings = {
            "CDC_BRIDGE_DATABASE_URL": database.bridge_url,
            "CDC_BRIDGE_LOG_FORMAT": "json",
            "CDC_BRIDGE_LOG_LEVEL": "warning",
        }
        say(f"starting two daemons with {options.endpoints:,} endpoints")
        daemons = await stack.enter_async_context(Daemons(settings, options.folder))
        return await Course(options, postgres, database, receiver, daemons, say).run()
