"""Looks whether all is well when somebody asks, and not more often than every few seconds however many ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.listener import Listener
from cdc_bridge.database import Database, problem_of
from cdc_bridge.delivery.supervisor import Held, Supervisor
from cdc_bridge.errors import BridgeError
from cdc_bridge.operations.checks.capture import check_capture
from cdc_bridge.operations.checks.mapping import check_mapping
from cdc_bridge.operations.checks.schema import check_installation
from cdc_bridge.operations.checks.verdict import Check, Verdict
from cdc_bridge.operations.health.canary import Canary
from cdc_bridge.operations.health.readiness import Problem, problems
from cdc_bridge.operations.health.standing import EndpointNow, endpoints_now
from cdc_bridge.operations.reload import CurrentSettings

LOOK_AT_MOST_EVERY_SECONDS = 2.0
_ANSWER_WITHIN_SECONDS = 5.0
_ALIVE_ALLOWANCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen."""

    endpoints: Sequence[EndpointNow]
    """Empty where the database could not be asked."""
    problems: Sequence[Problem]
    database_up: bool
    held: Sequence[Held]
    """What this daemon calls."""
    listening: bool


class Observer:
    """Looks."""

    def __init__(
        self,
        database: Database,
        listener: Listener,
        supervisor: Supervisor,
        canary: Canary,
        settings: CurrentSettings,
    ) -> None:
        """Prepare to look.

        Args:
            database: where the endpoints and what captures are.
            listener: says whether the doorbell is heard.
            supervisor: says what this daemon calls.
            canary: says whether it was heard.
            settings: say which lag is too much.
        """
        self._database = database
        self._listener = listener
        self._supervisor = supervisor
        self._canary = canary
        self._settings = settings
        self._looking = asyncio.Lock()
        self._last: tuple[float, Look] | None = None

    async def look(self) -> Look:
        """Return what there is to see, a moment old at most."""
        async with self._looking:  # Who comes meanwhile gets what the first one sees.
            if self._last is None or time.monotonic() - self._last[0] > LOOK_AT_MOST_EVERY_SECONDS:
                self._last = time.monotonic(), await self._look()
            return self._last[1]

    async def _look(self) -> Look:
        endpoints, checks, problem = await self._ask()
        return Look(
            endpoints,
            problems(
                database=problem,
                checks=checks,
                fallen_back=self._listener.fallen_back,
                canary=self._canary.problem,
                endpoints=endpoints,
                max_lag_seconds=self._settings.now.max_lag_seconds,
            ),
            database_up=problem is None,
            held=self._supervisor.held,
            listening=self._listener.listening,
        )

    async def _ask(self) -> tuple[list[EndpointNow], list[Check], str | None]:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_SECONDS):
                return *await self._database.patiently(_read), None
        except TimeoutError:
            return [], [], f"it did not answer within {_ANSWER_WITHIN_SECONDS:g} s"
        except BridgeError as error:
            return [], [Check("installation", Verdict.FAILED, error.problem, error.remedy)], None

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
