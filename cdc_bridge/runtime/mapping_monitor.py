"""Watches whether e-Res's tables still fit the payload and are captured, whether or not anything is delivered.

e-Res can alter its tables as it likes. What that breaks has to be known within a minute: it is logged, and endpoints
whose payload cannot be loaded are invalid until it can. Their changes are kept, and no retry is used up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from cdc_bridge.checks.capture import check_capture
from cdc_bridge.checks.mapping import check_contract, invalid
from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.database import Database
from cdc_bridge.errors import InstallationError, PayloadInvalid
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.reservations import newest_changed
from cdc_bridge.sessions import LoadingConnection

_LOOK_EVERY_SECONDS = 20.0
_LOOK_EVERY_SECONDS_WHILE_INVALID = 3.0

_log = structlog.get_logger(__name__)


class MappingMonitor:
    """What is wrong with the payload and with capture."""

    def __init__(self, database: Database) -> None:
        """Prepare to look; must run inside the event loop."""
        self._database = database
        self._loader = ReservationLoader()
        self._logged: dict[str, Check] = {}
        self._look_now = asyncio.Event()
        self._evidence: PayloadInvalid | None = None
        """Says for which reservations the payload failed, though it fits e-Res's tables."""
        self.payload_problem: str | None = None
        """Why the payload cannot be loaded; ``None``: it can, as far as is known."""
        self.changed: Callable[[], None] = lambda: None
        """Called when the payload became invalid or valid."""

    def found_invalid(self, error: PayloadInvalid) -> None:
        """Note that a load found the payload invalid."""
        self._note_payload(error)
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
            pause_seconds = _LOOK_EVERY_SECONDS if self.payload_problem is None else _LOOK_EVERY_SECONDS_WHILE_INVALID
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
        try:
            newest = [] if self._evidence is None else await self._database.patiently(newest_changed)
            await self._database.load_patiently(partial(self._require_valid, newest=newest))
            mapping = await self._database.load_patiently(check_contract)
            self._note_payload(None)
        except PayloadInvalid as error:
            mapping = invalid(error)
            self._note_payload(error)
        capture = await self._database.patiently(check_capture)
        for check in (mapping, capture):
            self._log(check.name, check)
        return mapping, capture

    async def _require_valid(self, connection: LoadingConnection, newest: Sequence[ReservationId]) -> None:
        await self._loader.require_valid(connection)
        if self._evidence is not None:
            loaded = await self._loader.load_each(connection, [*newest, *map(ReservationId, self._evidence.evidence)])
            if loaded.unreadable and not loaded.reservations:
                raise self._evidence

    def _note_payload(self, error: PayloadInvalid | None) -> None:
        problem = None if error is None else error.problem
        self._evidence = error if error is not None and error.evidence else None
        if problem != self.payload_problem:
            self.payload_problem = problem
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
