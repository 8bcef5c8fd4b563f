"""Watches whether e-Res's tables still fit the payloads and are captured, whether or not anything is delivered.

e-Res can alter its tables as it likes, and a DBA the payloads. What that breaks has to be known within a minute: it is
logged, and endpoints whose payload cannot be loaded, or whose conditions do not fit it, are invalid until that is
mended. Their changes are kept, and no retry is used up. Other endpoints are not concerned.

As long as all is well, one statement asks whether anything in the database's catalogs was written. Only then, or if the
endpoints get something else, does the monitor look at everything again; and every ten minutes, whatever was counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.checks.capture import check_capture
from cdc_bridge.checks.mapping import judge_contract
from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.database import Database
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.errors import InstallationError, PayloadInvalid
from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.payload.conditions import unfitting
from cdc_bridge.payload.definition import PayloadDefinition, payload_definition
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.sample import sample_reservations
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.queries import load_queries
from cdc_bridge.runtime.subscriptions_in_use import SubscriptionsInUse
from cdc_bridge.sessions import LoadingConnection

_LOOK_EVERY_SECONDS = 30.0
_LOOK_EVERY_SECONDS_WHILE_INVALID = 3.0
_LOOK_AT_EVERYTHING_EVERY_SECONDS = 600.0

_queries = load_queries(__name__)
_log = structlog.get_logger(__name__)


class EndpointList(Protocol):
    """Lists all endpoints."""

    @property
    def listed(self) -> Mapping[EndpointId, ListedEndpoint]:
        """All of them: another mapping, and another row of an endpoint, if something has changed."""

    async def until_listed(self) -> None:
        """Wait until they are known."""


class MappingMonitor:
    """What is wrong with the payloads that endpoints get, and with capture."""

    def __init__(self, database: Database) -> None:
        """Prepare to look; must run inside the event loop."""
        self._database = database
        self._loaders: dict[str, ReservationLoader] = {}
        """Of the payloads in use."""
        self._in_use = SubscriptionsInUse()
        self._definitions: dict[str, PayloadDefinition] = {}
        """Of the payloads in use that can be loaded."""
        self._revisions: dict[str, str] | None = None
        """Those of the payloads when the conditions were judged; ``None``: other conditions are in use since."""
        self._judged: dict[Subscription, str] = {}
        """The revision of its payload that each was judged by."""
        self._unfit: dict[Subscription, PayloadInvalid] = {}
        """Those of the conditions that do not fit."""
        self._invalid: dict[Subscription, PayloadInvalid] = {}
        self._checks: Sequence[Check] = ()
        self._catalog_writes: int | None = None
        self._look_at_everything_at = 0.0
        self._logged: dict[str, Check] = {}
        self._look_now = asyncio.Event()
        self._looking = asyncio.Lock()
        self.endpoints: EndpointList | None = None
        """Lists all endpoints; ``None``: there are none."""
        self.changed: Callable[[], None] = lambda: None
        """Called when an endpoint's payload became invalid or valid."""

    def problem_of(self, subscription: Subscription) -> str | None:
        """Return why an endpoint's payload cannot be loaded; ``None``: it can, as far as is known."""
        of_payload = self._invalid.get(Subscription(subscription.payload))
        if of_payload is not None and of_payload.evidence:
            of_payload = None  # It fails for some reservations, which others that have conditions need not get.
        error = of_payload or self._invalid.get(subscription)
        return None if error is None else error.problem

    def found_invalid(self, subscription: Subscription, error: PayloadInvalid) -> None:
        """Note that a load found an endpoint's payload invalid."""
        self._note({**self._invalid, subscription: error})
        self._look_now.set()

    async def run(self) -> None:
        """Look at intervals until cancelled."""
        while True:
            self._look_now.clear()
            try:
                await self.look()
                self._log("installation", Check("installation", Verdict.OK, ""))
            except InstallationError as error:
                self._log("installation", Check("installation", Verdict.FAILED, error.problem, error.remedy))
            except Exception:  # noqa: BLE001 - whatever it is, deliveries go on
                _log.exception("mapping check crashed")
            pause_seconds = _LOOK_EVERY_SECONDS_WHILE_INVALID if self._invalid else _LOOK_EVERY_SECONDS
            try:
                async with asyncio.timeout(pause_seconds):
                    await self._look_now.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(_LOOK_EVERY_SECONDS_WHILE_INVALID)  # However many loads fail meanwhile.

    async def look(self) -> Sequence[Check]:
        """Look now; return the checks of the mapping and of capture, which may be those of ten seconds ago.

        Raises:
            InstallationError: A statement failed.
        """
        async with self._looking:
            return await self._look()

    async def _look(self) -> Sequence[Check]:
        others_in_use = False
        if self.endpoints is not None:
            await self.endpoints.until_listed()
            others_in_use = self._in_use.update(self.endpoints.listed)
        if others_in_use:
            self._revisions = None
        writes, is_waiting = await self._database.patiently(_catalog_writes)
        if (
            others_in_use
            or is_waiting
            or writes is None
            or writes != self._catalog_writes
            or self._invalid
            or not all(check.verdict is Verdict.OK for check in self._checks)
            or time.monotonic() >= self._look_at_everything_at
        ):
            self._checks = await self._look_at_everything()
            self._catalog_writes = writes  # Counted before, so that nothing written since is missed.
            self._look_at_everything_at = time.monotonic() + _LOOK_AT_EVERYTHING_EVERY_SECONDS
        return self._checks

    async def _look_at_everything(self) -> Sequence[Check]:
        invalid = await self._database.load_patiently(self._find_invalid)
        self._note(invalid)
        mapping = judge_contract(self._definitions, invalid.values())
        capture = await self._database.patiently(check_capture)
        for check in (mapping, capture):
            self._log(check.name, check)
        return mapping, capture

    async def _find_invalid(self, connection: LoadingConnection) -> dict[Subscription, PayloadInvalid]:
        payloads = self._in_use.payloads
        self._loaders = {payload: self._loaders.get(payload) or _loader(payload) for payload in sorted(payloads)}
        invalid: dict[Subscription, PayloadInvalid] = {}
        self._definitions = {}
        for payload, loader in self._loaders.items():
            try:
                await loader.require_valid(connection)
                self._definitions[payload] = await payload_definition(connection, payload)
            except PayloadInvalid as error:
                invalid[Subscription(payload)] = error
        await self._judge_conditions(connection)
        for subscription in [each for each, error in self._invalid.items() if error.evidence]:
            if subscription in self._in_use.all and subscription.payload in self._definitions:
                try:
                    await self._look_at_evidence(connection, subscription)
                except PayloadInvalid as error:
                    invalid[subscription] = error
        return invalid | self._unfit

    async def _judge_conditions(self, connection: LoadingConnection) -> None:
        """Judge the conditions that are new, and those on a payload that was defined anew."""
        revisions = {payload: definition.revision for payload, definition in self._definitions.items()}
        if revisions == self._revisions:
            return
        in_use = {each: revisions[each.payload] for each in self._in_use.all if each.payload in revisions}
        new = [each for each, revision in in_use.items() if self._judged.get(each) != revision]
        unfit = await unfitting(connection, new)
        kept = in_use.keys() - set(new)
        self._unfit = {each: error for each, error in self._unfit.items() if each in kept} | unfit
        self._judged, self._revisions = in_use, revisions

    async def _look_at_evidence(self, connection: LoadingConnection, subscription: Subscription) -> None:
        """Load the reservations that a payload failed for, though it fits e-Res's tables, and the newest.

        Raises:
            PayloadInvalid: It fails for all of them.
        """
        before = self._invalid.get(subscription)
        if before is None or not before.evidence:
            return
        newest = await self._database.patiently(sample_reservations)
        loader = ReservationLoader(subscription)
        loaded = await loader.load_each(connection, [*newest, *map(ReservationId, before.evidence)])
        if loaded.unreadable and not loaded.reservations:
            raise before

    def _note(self, invalid: dict[Subscription, PayloadInvalid]) -> None:
        before = {subscription: error.problem for subscription, error in self._invalid.items()}
        self._invalid = invalid
        if before != {subscription: error.problem for subscription, error in invalid.items()}:
            self.changed()

    def _log(self, name: str, check: Check) -> None:
        """Log a check that failed or warns once, and when it passes again."""
        before = self._logged.get(name)
        if before is not None and before.verdict is Verdict.FAILED and check.verdict is not Verdict.FAILED:
            _log.info(f"{name} works again")
        self._logged[name] = check
        if check == before:
            return
        if check.verdict is Verdict.FAILED:
            _log.error(f"{name} broken", problem=check.detail, remedy=check.remedy)
        elif check.verdict is Verdict.WARNING:
            _log.warning(f"{name} incomplete", problem=check.detail, remedy=check.remedy)


async def _catalog_writes(connection: AsyncConnection[TupleRow]) -> tuple[int | None, bool]:
    cursor = await connection.execute(_queries["catalog_writes"])
    ((writes, is_waiting),) = await cursor.fetchall()
    return writes, is_waiting


def _loader(payload: str) -> ReservationLoader:
    return ReservationLoader(Subscription(payload))
