"""When the next retry of each endpoint is due, so that an idle endpoint needs neither a task nor a statement for it.

One statement asks for all endpoints: when they were leased, when somebody has changed the delivery log, and now and
then in case the notification of that is lost. In between it is known from what is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from cdc_bridge.database import ServerDatabase
from cdc_bridge.model import EndpointId
from cdc_bridge.pipeline.delivery_log import next_due
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.tasks import wait_for_event

_ASK_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Due:
    """When a retry is due."""

    at: float
    note: int
    """What was noted when that became known."""


class RetryTimes:
    """Makes pipelines for idle endpoints whose retries are due."""

    def __init__(self, database: ServerDatabase, leased: Mapping[EndpointId, LeasedEndpoint]) -> None:
        """Prepare to watch; must run inside the event loop.

        Args:
            database: Has the delivery log.
            leased: All leased endpoints.
        """
        self._database = database
        self._leased = leased
        self._now = asyncio.get_running_loop().time
        self._due: dict[EndpointId, _Due] = {}
        self._to_ask: set[EndpointId] = set()
        self._asking: set[EndpointId] = set()
        self._changed = asyncio.Event()
        self._answered = asyncio.Event()
        self._next_at = 0.0
        self.notes = 0
        """How often something was noted: an argument of :meth:`reached`."""

    def add(self, endpoint_ids: Collection[EndpointId]) -> None:
        """Ask for the retries of endpoints that were just leased."""
        self._to_ask.update(endpoint_ids)
        self._changed.set()

    def ask_for_all(self) -> None:
        """Ask for the retries of all endpoints: somebody has changed the delivery log."""
        self.add(self._leased.keys())

    def has_any(self, endpoint_id: EndpointId) -> bool:
        """Return whether an endpoint may have a delivery to retry."""
        return endpoint_id in self._due or endpoint_id in self._to_ask or endpoint_id in self._asking

    async def asked(self, endpoint_id: EndpointId) -> None:
        """Wait until the delivery log was asked for the retries of an endpoint."""
        while endpoint_id in self._to_ask or endpoint_id in self._asking:
            self._answered.clear()
            await self._answered.wait()

    def note(self, endpoint_id: EndpointId, seconds: float) -> None:
        """Note when a retry that was just recorded is due."""
        self.notes += 1
        at, known = self._now() + seconds, self._due.get(endpoint_id)
        self._set(endpoint_id, at if known is None else min(at, known.at))

    def reached(self, endpoint_id: EndpointId, seconds: float | None, notes: int) -> None:
        """Note what the delivery log says of an endpoint.

        Args:
            endpoint_id: The endpoint.
            seconds: When its next retry is due; ``None``: it has none.
            notes: :attr:`notes` before the delivery log was asked: it may not know of what was noted since.
        """
        known = self._due.get(endpoint_id)
        if known is not None and known.note > notes:
            if seconds is not None:
                self.note(endpoint_id, seconds)
        elif seconds is None:
            self._due.pop(endpoint_id, None)
        else:
            self._set(endpoint_id, self._now() + seconds)

    def _set(self, endpoint_id: EndpointId, at: float) -> None:
        self._due[endpoint_id] = _Due(at, self.notes)
        if at < self._next_at:
            self._changed.set()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            ServerReplaced: Another server serves the database.
            StatementFailed: The delivery log cannot be read.
        """
        ask_all_at = self._now() + _ASK_EVERY_SECONDS
        while True:
            self._changed.clear()
            if self._now() >= ask_all_at:
                self._to_ask.update(self._leased)
                ask_all_at = self._now() + _ASK_EVERY_SECONDS
            if self._to_ask:
                await self._ask()
            self._wake()
            self._next_at = min((due.at for due in self._due.values()), default=ask_all_at)
            await wait_for_event(self._changed, min(ask_all_at, self._next_at) - self._now())

    async def _ask(self) -> None:
        self._asking, self._to_ask = {each for each in self._to_ask if each in self._leased}, set()
        notes = self.notes
        found = await self._database.patiently(partial(next_due, endpoint_ids=self._asking))
        for endpoint_id in self._asking:
            self.reached(endpoint_id, found.get(endpoint_id), notes)
            leased = self._leased.get(endpoint_id)
            if endpoint_id in found and leased is not None and leased.pipeline is not None:
                leased.pipeline.look_at_schedule()
        self._asking = set()
        self._answered.set()

    def _wake(self) -> None:
        """Make pipelines for endpoints whose retries are due. Those that there are look after theirs."""
        now = self._now()
        for endpoint_id, due in [(endpoint_id, due) for endpoint_id, due in self._due.items() if due.at <= now]:
            leased = self._leased.get(endpoint_id)
            if leased is None:
                del self._due[endpoint_id]
                continue
            # The pipeline says when the next one is.
            self._due[endpoint_id] = _Due(now + _ASK_EVERY_SECONDS, due.note)
            if not leased.stopping:
                leased.activate()
