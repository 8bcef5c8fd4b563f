"""Those who write by turns: each with a database of its own, a capture in it and a daemon beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from tests.bench.drains import delivered
from tests.bench.figures import by_turns
from tests.bench.sleeper import sleeper
from tests.bench.stage import RESERVATIONS, Capture, Stage, until
from tests.support.databases import Database

Daemon = Literal["absent", "asleep", "busy", "idle"]
"""None; one that sleeps on however often it is rung for; one that delivers all the time; one that has nothing to do but
what is written."""


@dataclass(frozen=True)
class Contender:
    """With which capture, beside which daemon, somebody writes."""

    capture: Capture
    daemon: Daemon
    told: str
    """Its name in the table."""


NO_TRIGGER = Contender("none", "absent", "no trigger")
CAPTURED = {
    daemon: Contender("bridge", daemon, f"daemon {daemon}: captured") for daemon in ("absent", "asleep", "busy")
}
IDLE = Contender("bridge", "idle", "daemon idle: captured")
EMPTY = Contender("empty", "absent", "such a trigger that does nothing")
NAIVE = Contender("naive", "absent", "row trigger with NOTIFY")
NAIVE_BUSY = Contender("naive, same daemon", "busy", "daemon busy: row trigger with NOTIFY")
NAIVE_IDLE = Contender("naive, same daemon", "idle", "daemon idle: row trigger with NOTIFY")

ADDED = 0
"""The reference of reservations that a measure adds; they are taken away again."""

_BACKLOG = """
do $$
begin
  for turn in 1 .. {count} / 100 loop
    insert into cdc_bridge.change (reservation_id, operation, changed_at)
    select upper(md5('r' || 1 + mod(100 * turn + i, {reservations}))), 'U', now() from generate_series(1, 100) as i;
    commit;
  end loop;
end
$$
"""
"""Changes that no row has undergone: the reservations are to be, on disk, as everybody else's are."""

Found = TypeVar("Found")


class Contenders:
    """Measures them by turns."""

    def __init__(self, stage: Stage, backlog: int, url: str, databases: dict[Contender, Database]) -> None:
        """Take what they share.

        Args:
            stage: where daemons run.
            backlog: so many changes keep a daemon busy for longer than a turn takes.
            url: where daemons deliver.
            databases: each contender's.
        """
        self._stage = stage
        self._backlog = backlog
        self._url = url
        self._databases = databases

    async def by_turns(
        self, rounds: int, contenders: Sequence[Contender], measure: Callable[[Database], Found]
    ) -> dict[Contender, list[Found]]:
        """Have each write so many times, in a thread, and return what was measured."""
        turns = {contender.told: partial(self._write, contender, measure) for contender in contenders}
        found = await by_turns(rounds, turns)
        return {contender: found[contender.told] for contender in contenders}

    async def _write(self, contender: Contender, measure: Callable[[Database], Found]) -> Found:
        database = self._databases[contender]
        await asyncio.to_thread(self._settle, database)
        async with self._beside(contender.daemon, database):
            return await asyncio.to_thread(measure, database)

    def _settle(self, database: Database) -> None:
        database.execute(f"delete from public.reservations where reference = {ADDED}")
        database.execute("vacuum public.reservations")
        self._stage.checkpoint()

    @asynccontextmanager
    async def _beside(self, daemon: Daemon, database: Database) -> AsyncIterator[None]:
        match daemon:
            case "absent":
                yield
            case "asleep":
                async with sleeper(database):
                    yield
            case "idle":
                async with self._delivering(database):
                    yield
            case "busy":
                await asyncio.to_thread(
                    database.execute, _BACKLOG.format(count=self._backlog, reservations=RESERVATIONS)
                )
                async with self._delivering(database):
                    await until(lambda: delivered(database) > 0, "the first delivery")
                    yield
                    if delivered(database) >= self._backlog:
                        raise RuntimeError("the daemon was busy for a part of the turn only: the backlog is too small")

    @asynccontextmanager
    async def _delivering(self, database: Database) -> AsyncIterator[None]:
        async with self._stage.daemon(database, self._url) as daemon:
            await daemon.wait_for_log("listening")
            yield
        # What is left over is not the next turn's.
        database.execute("truncate cdc_bridge.change, cdc_bridge.delivery")


@asynccontextmanager
async def contending(stage: Stage, backlog: int, contenders: Sequence[Contender]) -> AsyncIterator[Contenders]:
    """Make the databases of contenders and a receiver, for as long as the block runs."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(stage.receiver())
        databases = {contender: stack.enter_context(stage.database(contender.capture)) for contender in contenders}
        yield Contenders(stage, backlog, url, databases)
