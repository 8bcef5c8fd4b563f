"""What must not hold up a request, and is written afterwards: sign-ins for the audit log, and that a token was used.

A sign-in works while the database is away, so its entry is written once it is back. All of it is bounded: of one
token's sign-ins some are noted singly within a minute, the others by their number, and what finds no room is in the
log at least.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.access.known_tokens import note_uses
from cdc_bridge.access.rights import Holder
from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record
from cdc_bridge.database import RECONNECT
from cdc_bridge.errors import BridgeError, DatabaseUnavailable

SINGLY = 5
"""Sign-ins of one token that are noted singly within an interval."""
INTERVAL_SECONDS = 60.0
_MOST_WAITING = 1000
_USED_SECONDS = 600.0

_log = structlog.get_logger(__name__)

T = TypeVar("T")
Connection = AsyncConnection[TupleRow]
Write = Callable[[Connection], Coroutine[Any, Any, None]]


class Changes(Protocol):
    """Runs changes."""

    async def change(self, operation: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """Run an operation in one transaction."""


class SignInCounter:
    """Decides how many entries the sign-ins of each token make. ``now`` is in seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._began_at: dict[str, float] = {}
        self._noted: dict[str, int] = {}

    def note(self, who: str, now: float) -> int:
        """Note a sign-in; return of how many sign-ins an entry is due now, this one included. 0: of none."""
        if now - self._began_at.get(who, now) >= INTERVAL_SECONDS or who not in self._began_at:
            left_out = max(0, self._noted.get(who, 0) - SINGLY)
            self._forget(now)
            self._began_at[who], self._noted[who] = now, 1
            return 1 + left_out
        self._noted[who] += 1
        return 1 if self._noted[who] <= SINGLY else 0

    def _forget(self, now: float) -> None:
        """Forget those that have nothing left to be noted."""
        for who in [who for who, began in self._began_at.items() if now - began >= INTERVAL_SECONDS]:
            if self._noted[who] <= SINGLY:
                del self._began_at[who], self._noted[who]


class LateWrites:
    """Writes them, one after another."""

    def __init__(self, database: Changes) -> None:
        """Prepare to write.

        Args:
            database: Where they are written.
        """
        self._database = database
        self._waiting: asyncio.Queue[tuple[str, Write]] = asyncio.Queue(_MOST_WAITING)
        self._sign_ins = SignInCounter()
        self._used_at: dict[int, float] = {}

    def note_sign_in(self, holder: Holder, by: Actor) -> None:
        """Have a sign-in noted in the audit log."""
        self.note_use(holder)
        signed_in_at = time.monotonic()
        number = self._sign_ins.note(by.who, signed_in_at)
        if not number:
            return

        async def write(connection: Connection) -> None:
            seconds_ago = time.monotonic() - signed_in_at
            more = {
                "times": number if number > 1 else None,
                "seconds_ago": round(seconds_ago) if seconds_ago >= 2 else None,
            }
            await record(connection, by, Action.SIGNED_IN, holder.endpoint, right=holder.right, **more)

        self._put(write, by.who)

    def note_use(self, holder: Holder) -> None:
        """Have it noted that a token was used, unless that was done some minutes ago."""
        now, token_id = time.monotonic(), holder.token_id
        if token_id is None or now - self._used_at.get(token_id, -_USED_SECONDS) < _USED_SECONDS:
            return
        self._used_at = {known: at for known, at in self._used_at.items() if now - at < _USED_SECONDS}
        self._used_at[token_id] = now

        async def write(connection: Connection) -> None:
            await note_uses(connection, [token_id])

        self._put(write, holder.name)

    def _put(self, write: Write, who: str) -> None:
        try:
            self._waiting.put_nowait((who, write))
        except asyncio.QueueFull:
            _log.warning("not in the audit log", token=who, reason="the database has not responded for long")

    async def run(self) -> None:
        """Write whatever comes, until cancelled; what is under way then is lost."""
        while True:
            who, write = await self._waiting.get()
            try:
                await self._write_patiently(write)
            except BridgeError as error:  # It would fail again.
                _log.warning("not in the audit log", token=who, reason=error.problem)

    async def _write_patiently(self, write: Write) -> None:
        failures = 0
        while True:
            try:
                await self._database.change(write)
            except DatabaseUnavailable:
                failures += 1
                await asyncio.sleep(RECONNECT.pause_seconds(failures, random.random()))
            else:
                return
