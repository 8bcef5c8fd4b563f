"""One way of alerts to people: sends the newest one in the background, and again while that fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from cdc_bridge.alerts.wording import Alert
from cdc_bridge.backoff import Backoff
from cdc_bridge.tasks import end

RETRY = Backoff(first_seconds=5.0, longest_seconds=900.0, jitter=0.2)

_log = structlog.get_logger(__name__)


class Channel:
    """Sends alerts; must be made inside the event loop."""

    def __init__(
        self,
        name: str,
        send: Callable[[Alert], Awaitable[str | None]],
        *,
        most_attempts: int | None = None,
        backoff: Backoff = RETRY,
    ) -> None:
        """Prepare to send.

        Args:
            name: The setting that it comes from.
            send: Sends an alert; returns why that failed.
            most_attempts: After which an alert is given up; ``None``: when the next one comes.
            backoff: Pauses between attempts.
        """
        self._name = name
        self._send = send
        self._most_attempts = most_attempts
        self._backoff = backoff
        self._newest: Alert | None = None
        self._asked = asyncio.Event()
        self.problem: str | None = None
        """Why the last attempt failed; ``None``: it did not."""
        self._task = asyncio.create_task(self._run())

    @property
    def unsent(self) -> bool:
        """Whether an alert is still to be sent."""
        return self._newest is not None

    def tell(self, alert: Alert) -> None:
        """Send an alert in the background; it takes the place of one that could not be sent."""
        if self._newest is not None and self.problem is not None:
            alert = replace(alert, details=(*alert.details, "An earlier message could not be sent."))
        self._newest = alert
        self._asked.set()

    async def close(self) -> None:
        """Stop sending."""
        await end([self._task])

    async def _run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            failures = 0
            while (alert := self._newest) is not None:
                problem = await self._attempt(alert)
                if self._newest is not alert:
                    break  # Another one came meanwhile.
                failures += 1
                if problem is None:
                    self._newest = None
                elif failures == self._most_attempts:
                    self._newest = None
                    _log.error("alert given up", channel=self._name, alert=alert.reason, problem=problem)
                elif await self._another_within(self._backoff.pause_seconds(failures, random.random())):
                    break

    async def _another_within(self, seconds: float) -> bool:
        """Wait for another alert; return whether one came."""
        try:
            async with asyncio.timeout(seconds):
                return await self._asked.wait()
        except TimeoutError:
            return False

    async def _attempt(self, alert: Alert) -> str | None:
        try:
            problem = await self._send(alert)
        except Exception:  # noqa: BLE001 - whatever it is, it is a problem to be shown, and deliveries go on
            _log.exception("alert crashed")
            problem = "sending crashed; see the log"
        if problem is None:
            _log.info("alert sent", channel=self._name, alert=alert.reason)
        else:
            _log.warning("alert not sent", channel=self._name, alert=alert.reason, problem=problem)
        self.problem = problem
        return problem
