"""The daemon: puts the parts together, runs them, has them take up changed settings (SIGHUP) and stops them.

Stopping is clean on SIGTERM and SIGINT: nothing new is read, the calls under way are finished and recorded within the
setting ``shutdown_timeout_seconds``. kill -9 costs at most duplicates.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import structlog

from cdc_bridge import __version__
from cdc_bridge.capture.listener import SAFETY_READ_SECONDS, Listener
from cdc_bridge.checks.preflight import require_ready
from cdc_bridge.database import Database
from cdc_bridge.endpoints.store import declare_endpoint
from cdc_bridge.errors import InstallationError, SettingsError
from cdc_bridge.logs import set_level
from cdc_bridge.runtime.health import HealthMonitor
from cdc_bridge.runtime.pruner import Pruner
from cdc_bridge.runtime.reconciler import ScheduledReconcile
from cdc_bridge.runtime.reload import TAKEN_UP, CurrentSettings, changed, without_restart
from cdc_bridge.runtime.supervisor import Supervisor
from cdc_bridge.runtime.systemd import ServiceManager, status_line
from cdc_bridge.runtime.watchdog import Watchdog
from cdc_bridge.tasks import end, run_together
from cdc_bridge.web.listening import listening_of
from cdc_bridge.web.server import web_server

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

    from cdc_bridge.endpoints.options import Endpoint
    from cdc_bridge.settings import Settings

_ALLOCATIONS_A_COLLECTION = 2_000

_log = structlog.get_logger(__name__)


async def run(settings: Settings, load_settings: Callable[[], Settings] | None = None) -> int:
    """Deliver until a signal to stop comes; return the exit code.

    Args:
        settings: how.
        load_settings: loads them anew, when SIGHUP comes.

    Raises:
        SettingsError: the endpoint that the settings declare cannot be used, or the page would be without protection.
        DatabaseUnavailable: the database does not answer at the start. (Later on it is waited for.)
        InstallationError: the SQL side is not what this version needs.
        Stuck: there is work and nothing moves.
        SettingsError: the web port is taken.
    """
    declared = settings.endpoint()
    listening = listening_of(settings)
    collect_garbage_seldom()
    current, service_manager = CurrentSettings(settings), ServiceManager()
    reload_asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_asked.set)
    database = Database(settings.database_url.get_secret_value())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        await database.open()
        await database.patiently(require_ready)
        if declared is not None:
            await database.patiently(partial(_declare, endpoint=declared, settings=settings))
        # The log is read several times before the watchdog would call it unread.
        safety_read_seconds = min(SAFETY_READ_SECONDS, settings.stuck_after_seconds / 5)
        listener = Listener(
            database,
            use_notify=settings.wake == "notify",
            poll_interval_seconds=settings.poll_interval_seconds,
            safety_read_seconds=safety_read_seconds,
        )
        supervisor = Supervisor(
            database,
            listener,
            declared,
            source=settings.source or f"/cdc-bridge/{await database.patiently(_database_name)}",
            batch_size=settings.batch_size,
            allow_http=settings.allow_http,
            lease_seconds=settings.lease_seconds,
            finish_within_seconds=settings.shutdown_timeout_seconds,
        )

        def tell_service_manager() -> None:
            service_manager.alive()
            lost = database.lost or supervisor.database_lost
            fallen_back = listener.fallen_back is not None
            service_manager.status(status_line(supervisor.held, database_lost=lost, fallen_back=fallen_back))

        watchdog = Watchdog(
            database,
            supervisor,
            stuck_after_seconds=settings.stuck_after_seconds,
            read_every_seconds=safety_read_seconds,
            end_process=_end_process,
            found_well=tell_service_manager,
        )
        # Until here a signal ends the process: it has nothing to finish yet.
        stopping = _stop_on_signals(service_manager)
        if listening is not None:
            observer = HealthMonitor(database, listener, supervisor, current)
            stack.push_async_callback(observer.close)
            await stack.enter_async_context(web_server(listening, observer, current))
        _log.info("started", version=__version__)
        service_manager.ready()
        await run_together(
            listener.run(),
            supervisor.run(stopping),
            watchdog.run(),
            ScheduledReconcile(database, supervisor, current).run(),
            Pruner(database, current).run(),
            _reload_when_asked(
                reload_asked,
                load_settings,
                current=current,
                database=database,
                supervisor=supervisor,
                service_manager=service_manager,
            ),
        )
        _log.info("stopped")
    return 0


async def _reload_when_asked(
    asked: asyncio.Event,
    load_settings: Callable[[], Settings] | None,
    *,
    current: CurrentSettings,
    database: Database,
    supervisor: Supervisor,
    service_manager: ServiceManager,
) -> None:
    """Take up changed settings each time it is asked for; those that are wrong, or need a restart, are told."""
    declaring: asyncio.Task[None] | None = None
    try:
        while True:
            await asked.wait()
            asked.clear()
            service_manager.reloading()
            declared = _taken_up(load_settings, current, supervisor)
            service_manager.ready()
            if declaring is not None:
                await end([declaring])
            if declared is not None:  # By itself, as the database may be away for long.
                declaring = asyncio.create_task(_make_known(database, declared, current.now))
    finally:
        if declaring is not None:
            await end([declaring])


def _taken_up(
    load_settings: Callable[[], Settings] | None, current: CurrentSettings, supervisor: Supervisor
) -> Endpoint | None:
    """Take up changed settings; return the endpoint that they declare, if all is well and they declare one."""
    try:
        wanted = current.now if load_settings is None else load_settings()
        declared = wanted.endpoint()
    except SettingsError as error:
        _log.error("settings not reloaded", problem=str(error))
        return None
    except Exception:  # noqa: BLE001 - whatever stands in the file, the deliveries go on
        _log.exception("settings not reloaded")
        return None
    names = changed(current.now, wanted)
    current.now = without_restart(current.now, wanted)
    set_level(current.now.log_level)
    supervisor.reload(declared, allow_http=current.now.allow_http)
    _log.info("settings reloaded", changed=[name for name in names if name in TAKEN_UP])
    if left := [name for name in names if name not in TAKEN_UP]:
        _log.warning("settings need a restart", left=left, remedy="systemctl restart cdc-bridge")
    return declared


async def _make_known(database: Database, declared: Endpoint, settings: Settings) -> None:
    try:
        await database.patiently(partial(_declare, endpoint=declared, settings=settings))
    except InstallationError as error:
        _log.error("endpoint of the settings not made known", problem=str(error))


async def _declare(connection: AsyncConnection[TupleRow], endpoint: Endpoint, settings: Settings) -> None:
    await declare_endpoint(connection, endpoint, from_oldest=settings.endpoint_start == "oldest")


def collect_garbage_seldom() -> None:
    """Have Python look for garbage less often, and not among what stays for good.

    A call leaves some behind (aiohttp's request and answer know one another), and looking for it took a quarter of a
    busy daemon's time. It is not to be put off for long either: a connection that broke off leaves buffers of 256 kB.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_A_COLLECTION)


def _end_process() -> NoReturn:
    os._exit(1)


def _stop_on_signals(service_manager: ServiceManager) -> asyncio.Event:
    stopping = asyncio.Event()

    def stop() -> None:
        service_manager.stopping()
        stopping.set()

    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop)
    return stopping


async def _database_name(connection: AsyncConnection[TupleRow]) -> str:
    return connection.info.dbname
