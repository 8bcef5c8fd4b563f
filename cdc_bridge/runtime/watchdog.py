"""Ends a daemon that is alive and stuck, so that what supervises it (systemd) starts it again.

Two things can be stuck. An endpoint: there is work, the database is there, the lease is ours, and nothing moves for
longer than any call or statement may take. That the event loop finds out itself, once a second. Or the event loop:
nothing runs in it any more. That a thread finds out, whose only work is to see that the loop has looked.

A process that was stopped (SIGSTOP, a machine asleep) is not stuck: thread and loop were stopped as well, see by their
own lateness that they were, and begin to count anew.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import structlog

from cdc_bridge.database import Database
from cdc_bridge.errors import BridgeError
from cdc_bridge.runtime.supervisor import LeasedEndpoint, Supervisor

_LOOK_EVERY_SECONDS = 1.0
_STOPPED_AFTER_SECONDS = 5 * _LOOK_EVERY_SECONDS  # who is later than that was stopped

_log = structlog.get_logger(__name__)


class Stuck(BridgeError):
    """Nothing moves though there is work."""


class Watchdog:
    """Watches the daemon."""

    def __init__(
        self,
        database: Database,
        supervisor: Supervisor,
        *,
        stuck_after_seconds: float,
        read_every_seconds: float,
        end_process: Callable[[], NoReturn],
        found_well: Callable[[], None],
    ) -> None:
        """Prepare to watch; must run inside the event loop.

        Args:
            database: while it is away, nothing can move.
            supervisor: whose endpoints are watched.
            stuck_after_seconds: time without progress after which something is stuck, beside what a call may take.
            read_every_seconds: how often the change log is read at least.
            end_process: ends the process at once, when the event loop cannot.
            found_well: called each time it has looked and found nothing stuck.
        """
        self._database = database
        self._supervisor = supervisor
        self._stuck_after_seconds = stuck_after_seconds
        self._read_every_seconds = read_every_seconds
        self._end_process = end_process
        self._found_well = found_well
        self._looked_at = time.monotonic()
        self._looked_last_at = self._count_from = self._now()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            Stuck: says what is.
        """
        ended = threading.Event()
        threading.Thread(target=self._watch_the_loop, args=(ended,), name="watchdog", daemon=True).start()
        try:
            while True:
                self._looked_at = time.monotonic()
                await self.look()
                self._found_well()
                await asyncio.sleep(_LOOK_EVERY_SECONDS)
        finally:
            ended.set()

    async def look(self) -> None:
        """Look once.

        Raises:
            Stuck: says what is.
        """
        now = self._now()
        if self._database.lost or self._supervisor.database_lost or now - self._looked_last_at > _STOPPED_AFTER_SECONDS:
            self._count_from = now
        self._looked_last_at = now
        if (seconds := self._late(self._supervisor.looked_at, self._supervisor.look_every_seconds)) is not None:
            raise self._stuck(f"the endpoints were not looked at for {seconds:.0f} s")
        for held in self._supervisor.held:
            if held.lease.valid and (problem := self._problem_of(held)) is not None:
                stuck = self._stuck(f"endpoint {held.endpoint.name}: {problem}")
                await self._supervisor.give_up(held, f"stuck: {problem}")
                raise stuck

    def _problem_of(self, held: LeasedEndpoint) -> str | None:
        stalled, unread = held.pipeline.stalled_since, held.pipeline.unread_since
        if (seconds := self._late(stalled, held.endpoint.timeout_seconds)) is not None:
            return f"there is work and no progress for {seconds:.0f} s"
        if (seconds := self._late(unread, self._read_every_seconds)) is not None:
            return f"the change log was not read for {seconds:.0f} s"
        return None

    def _late(self, since: float | None, allowance_seconds: float = 0.0) -> float | None:
        """Return how long something lasts, if that is too long; times without a database or stopped do not count."""
        if since is None:
            return None
        seconds = self._now() - max(since, self._count_from)
        return seconds if seconds > self._stuck_after_seconds + allowance_seconds else None

    @staticmethod
    def _stuck(problem: str) -> Stuck:
        _log.error("stuck", problem=problem)
        return Stuck(problem, "The daemon ends, to be started again; nothing is lost. Please report this.")

    def _watch_the_loop(self, ended: threading.Event) -> None:
        began = woken = time.monotonic()
        while not ended.wait(_LOOK_EVERY_SECONDS):
            now = time.monotonic()
            if now - woken > _STOPPED_AFTER_SECONDS:
                began = now  # We were stopped ourselves, or the machine was asleep.
            woken = now
            seconds = now - max(began, self._looked_at)
            if seconds > self._stuck_after_seconds:
                self._stuck(f"the event loop did nothing for {seconds:.0f} s")
                self._end_process()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
