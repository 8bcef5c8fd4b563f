"""Ends a daemon that is alive and stuck, so that systemd starts it again.

Two things can be stuck. An endpoint: there is work, the database responds, the lease is ours, and nothing moves for
longer than any request or statement may take. The event loop detects that itself, once a second. Or the event loop:
nothing runs in it any more. A thread detects that; it only checks whether the loop still runs.

A process that was stopped (SIGSTOP, a sleeping machine) is not stuck. Thread and loop were stopped as well, notice that
by their own lateness, and count from then on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

import structlog

from cdc_bridge.database import Database
from cdc_bridge.errors import BridgeError
from cdc_bridge.runtime.leased_endpoint import ActiveEndpoints, LeasedEndpoint

_LOOK_EVERY_SECONDS = 1.0
_STOPPED_AFTER_SECONDS = 5 * _LOOK_EVERY_SECONDS  # Later than that, the process was stopped.

_log = structlog.get_logger(__name__)


class Stuck(BridgeError):
    """Nothing moves though there is work."""


class Coordinator(Protocol):
    """Looks at the endpoints, and can give one up."""

    looked_at: float
    look_every_seconds: float

    @property
    def database_lost(self) -> bool:
        """Whether the last look failed because the database is away."""

    async def give_up(self, leased: LeasedEndpoint, problem: str) -> None:
        """Release one endpoint and lease nothing more."""


class Watchdog:
    """Detects a stuck daemon and ends it."""

    def __init__(
        self,
        database: Database,
        coordinator: Coordinator,
        supervisor: ActiveEndpoints,
        *,
        stuck_after_seconds: float,
        read_every_seconds: float,
        end_process: Callable[[], NoReturn],
        found_well: Callable[[], None],
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Prepare to watch; must run inside the event loop.

        Args:
            database: While it is away, nothing can move.
            coordinator: Has to look at the endpoints at intervals.
            supervisor: Knows the endpoints that have to make progress.
            stuck_after_seconds: Time without progress that means stuck, on top of what a request may take.
            read_every_seconds: Maximum time between two reads of the change log.
            end_process: Ends the process at once, for when the event loop cannot.
            found_well: Called after each look that found nothing stuck.
            clock: Time in seconds; default: the event loop's.
        """
        self._database = database
        self._coordinator = coordinator
        self._supervisor = supervisor
        self._stuck_after_seconds = stuck_after_seconds
        self._read_every_seconds = read_every_seconds
        self._end_process = end_process
        self._found_well = found_well
        self._clock = clock or asyncio.get_running_loop().time
        self._loop_looked_at = time.monotonic()
        self._looked_at = self._count_from = self._clock()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            Stuck: Says what is stuck.
        """
        ended = threading.Event()
        threading.Thread(target=self._watch_the_loop, args=(ended,), name="watchdog", daemon=True).start()
        try:
            while True:
                self._loop_looked_at = time.monotonic()
                await self.look()
                self._found_well()
                await asyncio.sleep(_LOOK_EVERY_SECONDS)
        finally:
            ended.set()

    async def look(self) -> None:
        """Look once.

        Raises:
            Stuck: Says what is stuck.
        """
        now = self._clock()
        if self._database.lost or self._coordinator.database_lost or now - self._looked_at > _STOPPED_AFTER_SECONDS:
            self._count_from = now
        self._looked_at = now
        coordinator = self._coordinator
        if (seconds := self._late(coordinator.looked_at, coordinator.look_every_seconds)) is not None:
            raise self._stuck(f"endpoints not checked for {seconds:.0f} s")
        for leased in self._supervisor.active:
            if leased.lease.valid and (problem := self._problem_of(leased)) is not None:
                stuck = self._stuck(f"endpoint {leased.endpoint.name}: {problem}")
                await coordinator.give_up(leased, f"stuck: {problem}")
                raise stuck
        if (seconds := self._late(self._supervisor.unread_since, self._read_every_seconds)) is not None:
            raise self._stuck(f"change log not read for {seconds:.0f} s")

    def _problem_of(self, leased: LeasedEndpoint) -> str | None:
        stalled = None if leased.pipeline is None else leased.pipeline.stalled_since
        seconds = self._late(stalled, leased.endpoint.timeout_seconds)
        return None if seconds is None else f"no progress for {seconds:.0f} s"

    def _late(self, since: float | None, allowance_seconds: float = 0.0) -> float | None:
        """Return for how long nothing moved, if too long; time without a database or while stopped does not count."""
        if since is None:
            return None
        seconds = self._clock() - max(since, self._count_from)
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
                began = now  # The process was stopped, or the machine was asleep.
            woken = now
            seconds = now - max(began, self._loop_looked_at)
            if seconds > self._stuck_after_seconds:
                self._stuck(f"event loop blocked for {seconds:.0f} s")
                self._end_process()
