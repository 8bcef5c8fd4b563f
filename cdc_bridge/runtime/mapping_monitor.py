"""Watches whether e-Res's tables still fit the payloads and are captured, whether or not anything is delivered.

e-Res can alter its tables as it likes, and a DBA the payloads. What that breaks has to be known within a minute: it is
logged, and endpoints whose payload cannot be loaded, or whose conditions do not fit it, are invalid until that is
mended. Their changes are kept, and no retry is used up. Other endpoints are not concerned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

import structlog

from cdc_bridge.checks.capture import check_capture
from cdc_bridge.checks.mapping import check_contract
from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.database import Database
from cdc_bridge.endpoints.store import subscriptions
from cdc_bridge.errors import InstallationError, PayloadInvalid
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.definition import payload_definition
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.reservations import newest_changed
from cdc_bridge.payload.subscription import Subscription, condition_text
from cdc_bridge.sessions import LoadingConnection

_LOOK_EVERY_SECONDS = 20.0
_LOOK_EVERY_SECONDS_WHILE_INVALID = 3.0

_log = structlog.get_logger(__name__)


class MappingMonitor:
    """What is wrong with the payloads that endpoints get, and with capture."""

    def __init__(self, database: Database) -> None:
        """Prepare to look; must run inside the event loop."""
        self._database = database
        self._loaders: dict[str, ReservationLoader] = {}
        """Of the payloads in use."""
        self._fitting: dict[Subscription, str] = {}
        """The revision of the payload that conditions were found to fit."""
        self._invalid: dict[Subscription, PayloadInvalid] = {}
        self._logged: dict[str, Check] = {}
        self._look_now = asyncio.Event()
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
        """Look now; return the checks of the mapping and of capture.

        Raises:
            InstallationError: A statement failed.
        """
        in_use = await self._database.patiently(subscriptions)
        invalid = await self._database.load_patiently(partial(self._find_invalid, in_use=in_use))
        self._note(invalid)
        payloads = {subscription.payload for subscription in in_use}
        mapping = await self._database.load_patiently(
            partial(check_contract, payloads=payloads, invalid=invalid.values())
        )
        capture = await self._database.patiently(check_capture)
        for check in (mapping, capture):
            self._log(check.name, check)
        return mapping, capture

    async def _find_invalid(
        self, connection: LoadingConnection, in_use: AbstractSet[Subscription]
    ) -> dict[Subscription, PayloadInvalid]:
        payloads = {subscription.payload for subscription in in_use}
        self._loaders = {payload: self._loaders.get(payload) or _loader(payload) for payload in payloads}
        self._fitting = {each: revision for each, revision in self._fitting.items() if each in in_use}
        invalid: dict[Subscription, PayloadInvalid] = {}
        revisions: dict[str, str] = {}
        for payload, loader in self._loaders.items():
            try:
                await loader.require_valid(connection)
                revisions[payload] = (await payload_definition(connection, payload)).revision
            except PayloadInvalid as error:
                invalid[Subscription(payload)] = error
        for subscription in in_use:
            if (revision := revisions.get(subscription.payload)) is None:
                continue
            try:
                if self._fitting.get(subscription) != revision:
                    await condition_text(connection, subscription)
                    self._fitting[subscription] = revision
                await self._look_at_evidence(connection, subscription)
            except PayloadInvalid as error:
                invalid[subscription] = error
        return invalid

    async def _look_at_evidence(self, connection: LoadingConnection, subscription: Subscription) -> None:
        """Load the reservations that a payload failed for, though it fits e-Res's tables, and the newest.

        Raises:
            PayloadInvalid: It fails for all of them.
        """
        before = self._invalid.get(subscription)
        if before is None or not before.evidence:
            return
        newest = await self._database.patiently(newest_changed)
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


def _loader(payload: str) -> ReservationLoader:
    return ReservationLoader(Subscription(payload))
