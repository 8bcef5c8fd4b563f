"""Applies settings that change while the daemon runs (SIGHUP); some of them need a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.checks.environment import exposed_remedy
from cdc_bridge.database import Database
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.store import declare_endpoint
from cdc_bridge.errors import InstallationError, SettingsError
from cdc_bridge.logs import set_level
from cdc_bridge.runtime.lease_coordinator import LeaseCoordinator
from cdc_bridge.runtime.systemd import ServiceManager
from cdc_bridge.settings import Settings
from cdc_bridge.tasks import end

RELOADABLE = frozenset(
    name for name in Settings.model_fields if name.startswith("endpoint_") and name != "endpoint_start"
) | {
    "alert_after_seconds",
    "alert_command",
    "alert_url",
    "allow_http",
    "dead_letter_retention_days",
    "log_level",
    "max_lag_seconds",
    "reconcile_interval_seconds",
    "reconcile_repair",
    "retention_days",
    "secrets_key_file",
}
"""Settings that can change without a restart."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class CurrentSettings:
    """The settings as they are now, for parts of the daemon that read them repeatedly."""

    now: Settings


def changed(before: Settings, after: Settings) -> list[str]:
    """Return the names of the settings that differ."""
    return [name for name in Settings.model_fields if getattr(before, name) != getattr(after, name)]


def reloaded(before: Settings, after: Settings) -> Settings:
    """Return the settings before, with those of after that can change without a restart."""
    return before.model_copy(
        update={name: getattr(after, name) for name in changed(before, after) if name in RELOADABLE}
    )


async def declare(connection: AsyncConnection[TupleRow], endpoint: Endpoint, settings: Settings) -> None:
    """Add the endpoint that the settings declare, or update its row."""
    await declare_endpoint(connection, endpoint, from_oldest=settings.endpoint_start == "oldest")


def warn_of_exposed(settings: Settings) -> None:
    """Log which files with secrets others than their owner can read."""
    for file in settings.exposed:
        _log.warning("secret can be read by others", file=str(file), remedy=exposed_remedy([file]))


class SettingsReload:
    """Reloads the settings on request."""

    def __init__(
        self,
        load_settings: Callable[[], Settings] | None,
        current: CurrentSettings,
        *,
        database: Database,
        coordinator: LeaseCoordinator,
        service_manager: ServiceManager,
    ) -> None:
        """Prepare to reload.

        Args:
            load_settings: Loads the settings anew; ``None``: only certificates and keys are read anew.
            current: The settings to replace.
            database: Where the endpoint of the settings is declared.
            coordinator: Applies the endpoint's definition.
            service_manager: Is notified before and after.
        """
        self._load_settings = load_settings
        self._current = current
        self._database = database
        self._coordinator = coordinator
        self._service_manager = service_manager

    async def run(self, asked: asyncio.Event) -> None:
        """Reload each time an event is set, until cancelled."""
        declaring: asyncio.Task[None] | None = None
        try:
            while True:
                await asked.wait()
                asked.clear()
                self._service_manager.reloading()
                declared = self._reload()
                self._service_manager.ready()
                if declaring is not None:
                    await end([declaring])
                if declared is not None:  # In a task of its own, as the database may be away for long.
                    declaring = asyncio.create_task(self._declare(declared))
        finally:
            if declaring is not None:
                await end([declaring])

    def _reload(self) -> Endpoint | None:
        """Apply changed settings; return the endpoint that they declare, if they are valid and declare one."""
        before = self._current.now
        try:
            wanted = before if self._load_settings is None else self._load_settings()
            declared, cipher = wanted.endpoint(), wanted.secrets_cipher()
        except SettingsError as error:
            _log.error("settings not reloaded", problem=str(error))
            return None
        except Exception:  # noqa: BLE001 - whatever the file holds, the deliveries go on
            _log.exception("settings not reloaded")
            return None
        self._current.now = reloaded(before, wanted)
        set_level(self._current.now.log_level)
        self._coordinator.reload(declared, allow_http=self._current.now.allow_http, cipher=cipher)
        warn_of_exposed(wanted)
        names = changed(before, wanted)
        _log.info("settings reloaded", changed=[name for name in names if name in RELOADABLE])
        if left := [name for name in names if name not in RELOADABLE]:
            _log.warning("settings need a restart", left=left, remedy="systemctl restart cdc-bridge")
        return declared

    async def _declare(self, declared: Endpoint) -> None:
        try:
            await self._database.patiently(partial(declare, endpoint=declared, settings=self._current.now))
        except InstallationError as error:
            _log.error("endpoint of the settings not declared", problem=str(error))
