"""The canary: proves that what is committed is captured and read, without touching a row of e-Res's.

Now and then it updates a row of ours (``sql/tables/canary.sql``). A trigger such as the reservations table's captures
that, the doorbell rings, and each pipeline reads it, which ends its way. Only a pipeline that had read all there was,
and sleeps again, can be said not to have heard it: one with a backlog comes to it later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge import metrics
from cdc_bridge.database import Database
from cdc_bridge.errors import BridgeError, InstallationError
from cdc_bridge.queries import load_queries
from cdc_bridge.runtime.reload import CurrentSettings
from cdc_bridge.runtime.supervisor import LeasedEndpoint
from cdc_bridge.schema.version import installed_version

_queries = load_queries(__name__)

HEARD_WITHIN_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 5.0
_AGAIN_AFTER_SECONDS = 10.0
_WAITING_STEP_SECONDS = 0.02

_log = structlog.get_logger(__name__)


class Holder(Protocol):
    """Who holds endpoints."""

    @property
    def held(self) -> Sequence[LeasedEndpoint]:
        """Those held now."""


class Doorbell(Protocol):
    """What wakes pipelines."""

    @property
    def listening(self) -> bool:
        """Whether it is heard; if not, pipelines look by themselves at intervals."""


class Canary:
    """Sings, and hears whether it is heard."""

    def __init__(self, database: Database, holder: Holder, doorbell: Doorbell, settings: CurrentSettings) -> None:
        """Prepare to sing.

        Args:
            database: where.
            holder: says which pipelines ought to read it.
            doorbell: says whether they are woken for it.
            settings: say how often, and how often pipelines look that are not woken.
        """
        self._database = database
        self._holder = holder
        self._doorbell = doorbell
        self._settings = settings
        self.problem: str | None = None
        """Why the last one was not heard; ``None``: it was, or none was sung yet."""
        self._problem_of: Sequence[LeasedEndpoint] = ()

    async def run(self) -> None:
        """Sing until cancelled."""
        sung_at = float("-inf")
        while True:
            interval = self._settings.now.canary_interval_seconds  # may be another each time
            await asyncio.sleep(min(interval or _LOOK_EVERY_SECONDS, _LOOK_EVERY_SECONDS))
            # What is wrong is tried soon again, so that it is not told for long after it was mended.
            due = interval if self.problem is None else min(interval, _AGAIN_AFTER_SECONDS)
            if interval and time.monotonic() - sung_at >= due and (listeners := self._at_rest()):
                sung_at = time.monotonic()
                self._note(await self._try(listeners), listeners)
            if self.problem is not None and not (interval and self._still_held(self._problem_of)):
                self.problem = None  # What is not tried any more is not known to be wrong.
                sung_at = float("-inf")

    async def _try(self, listeners: Sequence[LeasedEndpoint]) -> str | None:
        """Sing, and have whatever goes wrong be a problem that is told, never a reason for the daemon to end."""
        try:
            return await self._sing(listeners)
        except BridgeError as error:
            return f"it could not be tried: {error.problem}"
        except Exception as error:  # noqa: BLE001 - whatever it is, the deliveries go on
            _log.exception("canary ended by a surprise")
            return f"it could not be tried: {type(error).__name__}"

    def _at_rest(self) -> list[LeasedEndpoint]:
        return [held for held in self._holder.held if held.lease.valid and held.pipeline.at_rest]

    def _still_held(self, listeners: Sequence[LeasedEndpoint]) -> bool:
        held = {id(one) for one in self._holder.held}
        return any(id(one) in held for one in listeners)

    async def _sing(self, listeners: Sequence[LeasedEndpoint]) -> str | None:
        """Sing once; return why it was not heard, if it was not."""
        xid = await self._database.patiently(_update)
        if xid is None:
            return None
        began = time.monotonic()
        while any(held.pipeline.canary_read < xid for held in listeners):
            if time.monotonic() - began >= self._heard_within_seconds:
                return await self._why_not_heard(xid, listeners)
            await asyncio.sleep(_WAITING_STEP_SECONDS)
        metrics.CANARY_SECONDS.set(time.monotonic() - began)
        return None

    @property
    def _heard_within_seconds(self) -> float:
        waiting = 0.0 if self._doorbell.listening else self._settings.now.poll_interval_seconds
        return HEARD_WITHIN_SECONDS + waiting

    async def _why_not_heard(self, xid: int, listeners: Sequence[LeasedEndpoint]) -> str | None:
        """Say why; ``None``: those who did not hear it are not there any more, or have much else to read."""
        at_rest = self._at_rest()
        deaf = [held.endpoint.name for held in listeners if held in at_rest and held.pipeline.canary_read < xid]
        if not deaf:
            return None
        if not await self._database.patiently(lambda connection: _captured(connection, xid)):
            return "a change that was committed is not in the change log"
        names = ", ".join(f"endpoint {name}" for name in deaf)
        return f"a change that was committed was not read within {self._heard_within_seconds:g} s for {names}"

    def _note(self, problem: str | None, listeners: Sequence[LeasedEndpoint]) -> None:
        if problem is not None:
            metrics.CANARY_FAILURES.inc()
        if problem is not None and problem != self.problem:
            _log.error("canary not heard", problem=problem, remedy="cdc-bridge check")
        elif problem is None and self.problem is not None:
            _log.info("canary heard again")
        self.problem, self._problem_of = problem, listeners


async def _update(connection: AsyncConnection[TupleRow]) -> int | None:
    """Return its number; ``None``: a daemon of the version before may run, which takes canaries for reservations."""
    version = await installed_version(connection)
    if version is not None and version.is_prepared:
        return None
    cursor = await connection.execute(_queries["sing"])
    rows = await cursor.fetchall()
    if not rows:
        raise InstallationError("cdc_bridge.canary has no row", "Run as a DBA: cdc-bridge install")
    ((xid,),) = rows
    return int(xid)


async def _captured(connection: AsyncConnection[TupleRow], xid: int) -> bool:
    cursor = await connection.execute(_queries["canary_captured"], {"xid": str(xid)})
    ((captured,),) = await cursor.fetchall()
    return bool(captured)
