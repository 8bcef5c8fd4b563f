"""Looks whether all is well when somebody asks, and not more often than every few seconds however many ask.

A look that the database keeps waiting goes on, and whoever asks meanwhile is told so, with what was seen before it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.listener import Listener
from cdc_bridge.checks.capture import check_capture
from cdc_bridge.checks.mapping import check_mapping
from cdc_bridge.checks.schema import check_installation
from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.database import Database, problem_of
from cdc_bridge.endpoints.overview import EndpointNow, endpoints_now
from cdc_bridge.errors import BridgeError
from cdc_bridge.runtime.readiness import Part, Problem, problems
from cdc_bridge.runtime.reload import CurrentSettings
from cdc_bridge.runtime.supervisor import LeasedEndpoint, Supervisor
from cdc_bridge.tasks import end

LOOK_AT_MOST_EVERY_SECONDS = 2.0
_ANSWER_WITHIN_SECONDS = 5.0
_ANSWER_WHILE_LOST_WITHIN_SECONDS = 0.5
_ALIVE_ALLOWANCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen."""

    endpoints: Sequence[EndpointNow]
    """Empty where the database could not be asked; where it is slow, as they were seen before."""
    problems: Sequence[Problem]
    database_up: bool
    held: Sequence[LeasedEndpoint]
    """What this daemon calls."""
    listening: bool


class HealthMonitor:
    """Looks."""

    def __init__(
        self,
        database: Database,
        listener: Listener,
        supervisor: Supervisor,
        settings: CurrentSettings,
    ) -> None:
        """Prepare to look.

        Args:
            database: where the endpoints and what captures are.
            listener: says whether the doorbell is heard.
            supervisor: says what this daemon calls.
            settings: say which lag is too much.
        """
        self._database = database
        self._listener = listener
        self._supervisor = supervisor
        self._settings = settings
        self._looking: asyncio.Task[Look] | None = None
        self._began_at = self._next_at = float("-inf")
        self._seen: Look | None = None
        self._first_seen: dict[Part, datetime] = {}

    async def look(self) -> Look:
        """Return what there is to see, a moment old at most."""
        if self._looking is None and time.monotonic() >= self._next_at:
            self._began_at = time.monotonic()
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:  # Who comes meanwhile gets what the first one sees.
            within = _ANSWER_WHILE_LOST_WITHIN_SECONDS if self._database_lost else _ANSWER_WITHIN_SECONDS
            # Who comes late has less of the patience left.
            await asyncio.wait([self._looking], timeout=max(0.0, self._began_at + within - time.monotonic()))
        if self._looking is not None and self._looking.done():
            self._take(self._looking)
        return self._without_answer() if self._looking is not None or self._seen is None else self._seen

    async def close(self) -> None:
        """End a look that is under way."""
        if self._looking is not None:
            await end([self._looking])

    def _take(self, looked: asyncio.Task[Look]) -> None:
        """Keep what was seen. The next look comes no sooner than this one took, as it may be work for the database."""
        self._looking = None
        now = time.monotonic()
        self._next_at = now + max(LOOK_AT_MOST_EVERY_SECONDS, now - self._began_at)
        self._seen = looked.result()

    @property
    def _database_lost(self) -> bool:
        return self._database.lost or self._supervisor.database_lost

    def _without_answer(self) -> Look:
        if self._database_lost or self._seen is None:
            return self._look_at(None, database="it does not answer")
        slow = Problem(
            Part.DATABASE,
            f"it is slow: a look has taken {time.monotonic() - self._began_at:.0f} s so far",
            "See what keeps PostgreSQL busy.",
        )
        before = [problem for problem in self._seen.problems if problem.part is not Part.DATABASE]
        return replace(self._seen, problems=[slow, *before])

    async def _look(self) -> Look:
        try:
            endpoints, checks = await self._database.patiently(_read)
        except BridgeError as error:
            checks = [Check("installation", Verdict.FAILED, error.problem, error.remedy)]
            return self._look_at(None, checks)
        return self._look_at(endpoints, checks)

    def _look_at(
        self,
        endpoints: list[EndpointNow] | None,
        checks: Sequence[Check] = (),
        *,
        database: str | None = None,
    ) -> Look:
        found = problems(
            database=database,
            checks=checks,
            fallen_back=self._listener.fallen_back,
            endpoints=endpoints,
            max_lag_seconds=self._settings.now.max_lag_seconds,
        )
        now = datetime.now(UTC)
        seen = {problem.part: self._first_seen.get(problem.part, now) for problem in found}
        # Of what is not known at present, what was wrong before counts as wrong still.
        self._first_seen = seen if database is None else self._first_seen | seen
        return Look(
            endpoints or [],
            [replace(problem, seen_since=self._first_seen[problem.part]) for problem in found],
            database_up=database is None,
            held=self._supervisor.held,
            listening=self._listener.listening,
        )

    def why_not_alive(self) -> str | None:
        """Return why the daemon seems not to be alive, though its event loop is; ``None``: it is."""
        age = asyncio.get_running_loop().time() - self._supervisor.tried_at
        longest = self._supervisor.look_every_seconds + self._supervisor.lease_seconds + _ALIVE_ALLOWANCE_SECONDS
        return None if age <= longest else f"the endpoints were not looked at for {age:.0f} s"


async def _read(connection: AsyncConnection[TupleRow]) -> tuple[list[EndpointNow], list[Check]]:
    checks: list[Check] = []
    for check in (check_installation, check_mapping, check_capture):
        try:
            checks.append(await check(connection))
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
            name = check.__name__.removeprefix("check_")
            checks.append(Check(name, Verdict.FAILED, problem_of(error), "cdc-bridge check"))
    return await endpoints_now(connection), checks
