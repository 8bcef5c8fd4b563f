"""The daemon: puts the parts together, runs them and stops them.

Stopping is clean on SIGTERM and SIGINT: nothing new is read, the calls under way are finished and recorded within the
setting ``shutdown_timeout_seconds``. kill -9 costs at most duplicates.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import structlog

from cdc_bridge import __version__
from cdc_bridge.capture.listener import Listener
from cdc_bridge.database import Database
from cdc_bridge.delivery.endpoints import declare_endpoint
from cdc_bridge.delivery.supervisor import Supervisor
from cdc_bridge.delivery.watchdog import Watchdog
from cdc_bridge.operations.checks.preflight import require_ready
from cdc_bridge.operations.prune import Pruner
from cdc_bridge.operations.redelivery.scheduled_reconcile import ScheduledReconcile
from cdc_bridge.tasks import run_together
from cdc_bridge.web.server import web_server

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

    from cdc_bridge.settings import Settings

_ALLOCATIONS_A_COLLECTION = 2_000

_log = structlog.get_logger(__name__)


async def run(settings: Settings) -> int:
    """Deliver until a signal to stop comes; return the exit code.

    Raises:
        SettingsError: the endpoint that the settings declare cannot be used.
        DatabaseUnavailable: the database does not answer at the start. (Later on it is waited for.)
        InstallationError: the SQL side is not what this version needs.
        Stuck: there is work and nothing moves.
        SettingsError: the web port is taken.
    """
    declared = settings.endpoint()
    collect_garbage_seldom()
    database = Database(settings.database_url.get_secret_value())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        await database.open()
        await database.patiently(require_ready)
        if declared is not None:
            from_oldest = settings.endpoint_start == "oldest"
            await database.patiently(partial(declare_endpoint, endpoint=declared, from_oldest=from_oldest))
        listener = Listener(
            database,
            use_doorbell=settings.wake == "notify",
            poll_interval_seconds=settings.poll_interval_seconds,
            safety_read_seconds=settings.safety_read_seconds,
            test_interval_seconds=settings.doorbell_test_seconds,
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
        watchdog = Watchdog(
            database,
            supervisor,
            stuck_after_seconds=settings.stuck_after_seconds,
            read_every_seconds=settings.safety_read_seconds,
            end_process=_end_process,
        )
        reconciling = ScheduledReconcile(
            database,
            supervisor,
            interval_seconds=settings.reconcile_interval_seconds,
            repair=settings.reconcile_repair,
        )
        pruner = Pruner(
            database,
            retention_days=settings.retention_days,
            dead_letter_retention_days=settings.dead_letter_retention_days,
        )
        stopping = _stop_on_signals()  # Until here a signal ends the process: it has nothing to finish yet.
        if settings.web_port:
            await stack.enter_async_context(web_server(settings.web_port))
        _log.info("started", version=__version__)
        await run_together(listener.run(), supervisor.run(stopping), watchdog.run(), reconciling.run(), pruner.run())
        _log.info("stopped")
    return 0


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


def _stop_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopping.set)
    return stopping


async def _database_name(connection: AsyncConnection[TupleRow]) -> str:
    return connection.info.dbname
