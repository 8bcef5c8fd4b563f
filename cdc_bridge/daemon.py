"""The daemon: puts the parts together, runs them and stops them.

Stopping is clean on SIGTERM and SIGINT: nothing new is read, the calls under way are finished and recorded within the
setting ``shutdown_timeout_seconds``. A second signal, or kill -9, costs at most duplicates.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from cdc_bridge import __version__
from cdc_bridge.capture.listener import Listener
from cdc_bridge.database import Database
from cdc_bridge.delivery.ledger import register_endpoint
from cdc_bridge.delivery.pipeline import Pipeline
from cdc_bridge.operations.checks import require_ready
from cdc_bridge.tasks import run_together

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

    from cdc_bridge.settings import Settings

_log = structlog.get_logger(__name__)


async def run(settings: Settings) -> int:
    """Deliver until a signal to stop comes; return the exit code.

    Raises:
        SettingsError: no endpoint is set.
        DatabaseUnavailable: the database does not answer at the start. (Later on it is waited for.)
        InstallationError: the SQL side is not what this version needs.
    """
    endpoint = settings.endpoint()
    database = Database(settings.database_url.get_secret_value())
    stopping = _stop_on_signals()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        await database.open()
        await database.patiently(require_ready)
        start = await database.patiently(
            lambda connection: register_endpoint(connection, endpoint.name, from_oldest=endpoint.start == "oldest")
        )
        listener = Listener(
            database,
            use_doorbell=settings.wake == "notify",
            poll_interval_seconds=settings.poll_interval_seconds,
            safety_read_seconds=settings.safety_read_seconds,
            test_interval_seconds=settings.doorbell_test_seconds,
        )
        pipeline = Pipeline(
            database,
            listener.reader(),
            endpoint,
            start,
            source=settings.source or f"/cdc-bridge/{await database.patiently(_database_name)}",
            batch_size=settings.batch_size,
        )
        _log.info("started", version=__version__, endpoint=endpoint.name, url=endpoint.shown_url)
        await run_together(listener.run(), pipeline.run(stopping, settings.shutdown_timeout_seconds))
        _log.info("stopped")
    return 0


def _stop_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopping.set)
    return stopping


async def _database_name(connection: AsyncConnection[TupleRow]) -> str:
    return connection.info.dbname
