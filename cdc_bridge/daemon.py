"""The daemon: puts its parts together, starts them and stops them.

SIGTERM and SIGINT stop it cleanly: nothing new is read, and the requests in flight are finished and recorded within the
setting ``shutdown_timeout_seconds``. SIGHUP reloads the settings. kill -9 costs at most duplicates.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import structlog

from cdc_bridge import __version__
from cdc_bridge.alerts.alerter import Alerter
from cdc_bridge.alerts.channels import AlertChannels
from cdc_bridge.capture.listener import SAFETY_READ_SECONDS, Listener
from cdc_bridge.checks.preflight import require_ready, require_sessions
from cdc_bridge.database import Database
from cdc_bridge.endpoints.lease_store import DatabaseLeaseStore
from cdc_bridge.errors import InstallationError, StatementFailed
from cdc_bridge.payload.suspects import SuspectReservations
from cdc_bridge.runtime.definitions import EndpointDefinitions
from cdc_bridge.runtime.delivering import Environment, SharedDelivering
from cdc_bridge.runtime.endpoint_log import EndpointLog
from cdc_bridge.runtime.health import HealthMonitor
from cdc_bridge.runtime.heartbeat import Heartbeat
from cdc_bridge.runtime.lease_coordinator import LeaseCoordinator
from cdc_bridge.runtime.mapping_monitor import MappingMonitor
from cdc_bridge.runtime.pruner import Pruner
from cdc_bridge.runtime.reconciler import ScheduledReconcile
from cdc_bridge.runtime.related_changes import RelatedChanges
from cdc_bridge.runtime.reload import CurrentSettings, SettingsReload, declare, warn_of_exposed
from cdc_bridge.runtime.status_line import StatusLine
from cdc_bridge.runtime.supervisor import Supervisor
from cdc_bridge.runtime.systemd import ServiceManager
from cdc_bridge.runtime.watchdog import Watchdog
from cdc_bridge.schema.version import is_installed
from cdc_bridge.settings_sources import require_usable
from cdc_bridge.tasks import run_together
from cdc_bridge.transport.exhaustion import descriptor_limit
from cdc_bridge.transport.places import Places
from cdc_bridge.transport.pools import ConnectionPools
from cdc_bridge.transport.tls import use_small_buffers
from cdc_bridge.web.connections import most_connections
from cdc_bridge.web.listen_settings import listen_settings
from cdc_bridge.web.server import web_server

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

    from cdc_bridge.settings import Settings

_ALLOCATIONS_A_COLLECTION = 10_000
_EXPLAIN_WITHIN_SECONDS = 5.0

_log = structlog.get_logger(__name__)


async def run(settings: Settings, load_settings: Callable[[], Settings] | None = None) -> int:
    """Deliver until a signal to stop comes; return the exit code.

    Args:
        settings: The settings to start with.
        load_settings: Loads the settings anew, for SIGHUP.

    Raises:
        SettingsError: The endpoint that the settings declare is invalid, the file of keys cannot be used, the dashboard
            would be without protection, the web port is in use, or a pooler shares sessions.
        DatabaseUnavailable: The database does not respond at the start. Later on the daemon waits for it.
        InstallationError: The SQL side is not what this version needs, or was uninstalled meanwhile.
        Stuck: There is work and nothing moves.
    """
    require_usable(settings, listen_settings)
    declared, cipher, listen = settings.endpoint(), settings.secrets_cipher(), listen_settings(settings)
    warn_of_exposed(settings)
    collect_garbage_seldom()
    use_small_buffers()
    descriptors = descriptor_limit()
    places = Places(descriptors, reserved=sum(most_connections()) if listen is not None else 0)
    pools = ConnectionPools(keep_below=descriptors // 2)
    current, service_manager = CurrentSettings(settings), ServiceManager()
    reload_asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_asked.set)
    database = Database(settings.database_url.get_secret_value())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        stack.push_async_callback(pools.close)
        await require_sessions(settings.database_url.get_secret_value())
        await database.open()
        await database.patiently(require_ready)
        if declared is not None:
            await database.patiently(partial(declare, endpoint=declared, settings=settings))
        source = settings.source or f"/cdc-bridge/{await database.patiently(_database_name)}"
        # The log is read several times before the watchdog would call it unread.
        safety_read_seconds = min(SAFETY_READ_SECONDS, settings.stuck_after_seconds / 5)
        listener = Listener(
            database,
            use_notify=settings.wake == "notify",
            poll_interval_seconds=settings.poll_interval_seconds,
            safety_read_seconds=safety_read_seconds,
        )
        heartbeat = Heartbeat(database, timeout_seconds=settings.lease_seconds)
        leases = DatabaseLeaseStore(heartbeat, database, settings.lease_seconds)
        endpoint_log = EndpointLog()
        mapping = MappingMonitor(database)
        environment = Environment(
            database,
            listener,
            places,
            pools,
            source=source,
            page_size=settings.batch_size,
            max_body_bytes=settings.max_body_bytes,
            hard_to_route=defaultdict(SuspectReservations),
            hard_to_load=defaultdict(SuspectReservations),
            payload_invalid=mapping.found_invalid,
        )
        supervisor = Supervisor(
            partial(SharedDelivering, environment),
            leases,
            endpoint_log,
            finish_within_seconds=settings.shutdown_timeout_seconds,
        )
        coordinator = LeaseCoordinator(
            leases,
            supervisor,
            EndpointDefinitions(
                declared, allow_http=settings.allow_http, cipher=cipher, payload_problem=mapping.problem_of
            ),
            listener,
            endpoint_log,
            lease_seconds=settings.lease_seconds,
        )

        mapping.changed, mapping.endpoints = coordinator.plan_anew, coordinator
        status_line = StatusLine(database, listener, coordinator, supervisor)

        def notify_service_manager() -> None:
            service_manager.alive()
            service_manager.status(str(status_line))

        watchdog = Watchdog(
            database,
            coordinator,
            supervisor,
            stuck_after_seconds=settings.stuck_after_seconds,
            read_every_seconds=safety_read_seconds,
            end_process=_end_process,
            found_well=notify_service_manager,
        )
        reload = SettingsReload(
            load_settings, current, database=database, coordinator=coordinator, service_manager=service_manager
        )
        # Until here a signal ends the process: it has nothing to finish yet.
        stopping = _stop_on_signals(service_manager)
        channels = AlertChannels()
        health = HealthMonitor(
            database,
            listener,
            coordinator,
            supervisor,
            mapping=mapping,
            places=places,
            settings=current,
            alerts=channels.problem,
        )
        stack.push_async_callback(health.close)
        if listen is not None:
            await stack.enter_async_context(web_server(listen, health, current))
        stack.push_async_callback(
            heartbeat.close
        )  # First of all, so that other daemons see at once that this one ended.
        _log.info("started", version=__version__, descriptors=descriptors, most_requests=places.limit)
        service_manager.ready()
        async with _uninstallation_named(database):
            await run_together(
                listener.run(),
                coordinator.run(stopping),
                mapping.run(),
                RelatedChanges(database, listener).run(),
                watchdog.run(),
                *([status_line.run()] if service_manager else []),
                ScheduledReconcile(database, supervisor, current).run(),
                Pruner(database, current).run(),
                Alerter(database, health, channels, current, source.removeprefix("/cdc-bridge/")).run(),
                reload.run(reload_asked),
            )
        _log.info("stopped")
    return 0


def collect_garbage_seldom() -> None:
    """Have Python collect garbage less often, and not among what stays for good.

    Requests leave none. But as they come and go in waves, Python would look for it all the time, which took a quarter
    of a busy daemon's time, and a half with ten thousand endpoints. It must not be put off for long: a connection that
    broke leaves its buffers. With five times as many, a soak test's memory was not flat.
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


@asynccontextmanager
async def _uninstallation_named(database: Database) -> AsyncIterator[None]:
    """Say so if a statement failed because somebody has uninstalled the SQL side."""
    try:
        yield
    except StatementFailed as error:
        with suppress(TimeoutError, StatementFailed):
            async with asyncio.timeout(_EXPLAIN_WITHIN_SECONDS):
                name = await database.patiently(_uninstalled_from)
                if name is not None:
                    raise InstallationError(f"cdc-bridge was uninstalled from {name}") from error
        raise


async def _uninstalled_from(connection: AsyncConnection[TupleRow]) -> str | None:
    return None if await is_installed(connection) else connection.info.dbname


async def _database_name(connection: AsyncConnection[TupleRow]) -> str:
    return connection.info.dbname
