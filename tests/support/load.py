"""Writers that go on while things break, and the account of what arrived in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.audit import Audit, Truth, audit, commit, wait_until_settled
from tests.support.databases import Database
from tests.support.figures import Figures
from tests.support.receiver import Receiver
from tests.support.workload import Workload, chosen_seed

_WRITERS = 3
_PAUSE_SECONDS = 0.2
_BULK_ROWS = 60
_PATIENCE_SECONDS = 120.0


class Load:
    """A moderate load on one database: some dozens of changes a second."""

    def __init__(self, database: Database, receiver: Receiver, figures: Figures) -> None:
        self._database = database
        self._receiver = receiver
        self._figures = figures
        self.seed = chosen_seed()
        self._workload = Workload(database, self.seed, pause_seconds=_PAUSE_SECONDS)
        self._workload.set_up(_BULK_ROWS)

    @property
    def truth(self) -> Truth:
        """What was committed; a test adds what it commits by itself."""
        return self._workload.truth

    def commit(self, statement: str) -> None:
        """Run one statement that changes reservations, and remember what it changed."""
        commit(self._database, self.truth, statement)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write for as long as the block runs."""
        ended = asyncio.Event()
        writing = asyncio.create_task(self._workload.run_until(ended.is_set, _WRITERS))
        try:
            yield
            assert not writing.done(), "the writers ended before their time"
        finally:
            ended.set()
            await writing

    async def delivered(self, number: int) -> None:
        """Wait until so many more are delivered."""
        goal = self._receiver.delivered_count + number
        await self._receiver.wait_for(
            lambda: self._receiver.delivered_count >= goal, f"{number} more deliveries", _PATIENCE_SECONDS
        )

    async def committed(self, number: int) -> None:
        """Wait until so many transactions more are committed."""
        changed = self.truth.changed
        goal = len(changed) + number
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while len(changed) < goal:
                await asyncio.sleep(0.02)

    async def assert_promises_kept(self) -> Audit:
        """Wait until all is settled, check the promises and note the figures."""
        await wait_until_settled(self._database)
        truth, accepted = self.truth, self._receiver.delivered
        found = audit(self._database, truth, accepted)
        self._figures(f"{len(truth.changed)} transactions, {len(accepted)} deliveries, {found.duplicates} duplicates")
        found.assert_promises_kept()
        return found
