"""Background task that alerts people of the bridge's health.

It never waits for a receiver: alerts are sent by :mod:`~cdc_bridge.alerts.channel`, in tasks of their own.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from cdc_bridge.alerts import record
from cdc_bridge.alerts.channels import AlertChannels
from cdc_bridge.alerts.decision import Course, Decision, Reason, Reported, State, decide
from cdc_bridge.alerts.record import NOTHING_REPORTED, AlertRecord
from cdc_bridge.alerts.wording import problem_key, word_alert
from cdc_bridge.database import Database, process_name
from cdc_bridge.errors import BridgeError
from cdc_bridge.runtime.health import HealthSnapshot
from cdc_bridge.runtime.readiness import Part, Problem
from cdc_bridge.runtime.reload import CurrentSettings

_LOOK_EVERY_SECONDS = 5.0
_LOOKS_WHILE_LASTING = 4
_DATABASE_WITHIN_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Health(Protocol):
    """Says what is wrong with the bridge."""

    async def snapshot(self) -> HealthSnapshot:
        """Return a snapshot of a few seconds ago at most."""


class Alerter:
    """Looks at the health and alerts people."""

    def __init__(
        self, database: Database, health: Health, channels: AlertChannels, settings: CurrentSettings, place: str
    ) -> None:
        """Prepare to look.

        Args:
            database: Keeps what people were reported.
            health: Says what is wrong.
            channels: Send alerts.
            settings: Name the channels, and how long trouble has to last.
            place: Which bridge this is, for people.
        """
        self._database = database
        self._health = health
        self._channels = channels
        self._settings = settings
        self._place = place
        self._daemon = process_name()
        self._course = Course()
        self._record = NOTHING_REPORTED
        self._reported_alone: Reported | None = None
        """What this daemon has reported while the database was away; ``None``: nothing since."""

    async def run(self) -> None:
        """Look at intervals until cancelled."""
        try:
            while True:
                try:
                    await self._channels.use(self._settings.now)
                    if self._channels:
                        await self.look(datetime.now(UTC))
                except Exception:  # noqa: BLE001 - whatever it is, deliveries go on
                    _log.exception("alerts crashed")
                lasting_seconds = self._settings.now.alert_after_seconds
                await asyncio.sleep(min(_LOOK_EVERY_SECONDS, lasting_seconds / _LOOKS_WHILE_LASTING))
        finally:
            await self._channels.close()

    async def look(self, now: datetime) -> None:
        """Look once, and alert people if there is something to report."""
        snapshot = await self._health.snapshot()
        problems = [problem for problem in snapshot.problems if problem.part is not Part.ALERTS]
        if self._course.look(now, {problem_key(problem) for problem in problems}):
            _log.info("health turned", to="red" if problems else "green")
        after = timedelta(seconds=self._settings.now.alert_after_seconds)
        found = await self._read() if snapshot.database_up else None
        if found is None:
            reported = self._reported_alone or self._record.reported
            if (decision := decide(now, self._course, reported, after)) is not None:
                self._reported_alone = decision.reported
                self._tell(decision, problems, reported, now)
            return
        if self._reported_alone is not None:
            # Of the daemons that have reported the same while they were alone, one goes on from there.
            if found.reported.state is State.GREEN or not found.is_live or found.reported_by == self._daemon:
                await self._claim(found, self._reported_alone)
                found = await self._read() or found
            self._reported_alone = None
        reported = self._known(found)
        another_sends = reported.state is not State.GREEN and found.is_live and found.reported_by != self._daemon
        decision = None if another_sends else decide(now, self._course, reported, after)
        if decision is not None and await self._claim(found, decision.reported):
            self._tell(decision, problems, reported, now)
        if decision is None:
            await self._note(found)

    def _tell(self, decision: Decision, problems: list[Problem], before: Reported, now: datetime) -> None:
        lasted = None
        if decision.reason is Reason.GREEN and before.state is State.RED and before.red_at is not None:
            lasted = now - self._course.steady(now) - before.red_at
        alert = word_alert(decision, problems, f"{self._place} ({self._daemon})", lasted)
        _log.warning("alert", reason=alert.reason, summary=alert.summary)
        self._channels.tell(alert)

    def _known(self, found: AlertRecord) -> Reported:
        """Return what people know: not what a daemon could not send before it ended."""
        if not found.unsent or found.is_live or found.reported_by == self._daemon:
            return found.reported
        return (
            Reported(State.GREEN)
            if found.reported.state is not State.GREEN
            else Reported(State.RED, found.reported.reported_at)
        )

    async def _read(self) -> AlertRecord | None:
        """Return what was reported last; ``None``: the database cannot say."""
        try:
            async with asyncio.timeout(_DATABASE_WITHIN_SECONDS):
                self._record = await self._database.patiently(record.read)
        except (TimeoutError, BridgeError):
            return None
        return self._record

    async def _claim(self, before: AlertRecord, reported: Reported) -> bool:
        """Return whether this daemon has to send the alert: rather twice than never."""
        try:
            async with asyncio.timeout(_DATABASE_WITHIN_SECONDS):
                claiming = partial(record.claim, before=before, reported=reported, daemon=self._daemon)
                return await self._database.patiently(claiming)
        except (TimeoutError, BridgeError):
            return True

    async def _note(self, found: AlertRecord) -> None:
        """Write whether the last alert is sent."""
        unsent, problem = self._channels.unsent, self._channels.problem()
        if found.reported_by != self._daemon or (found.unsent, found.problem) == (unsent, problem):
            return
        with suppress(TimeoutError, BridgeError):
            async with asyncio.timeout(_DATABASE_WITHIN_SECONDS):
                noting = partial(record.note_sending, daemon=self._daemon, unsent=unsent, problem=problem)
                await self._database.patiently(noting)
