"""Background task that deletes what has had its time: rows of the logs, old secrets, kept responses of the HTTP API.

The procedure in the database decides what is deleted and what never is; after each page it pauses for as long as the
page took. Several daemons may prune at once. A failure is logged and tried again later; it never ends the daemon.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from cdc_bridge.database import DATABASE_ERRORS, Database, problem_of
from cdc_bridge.queries import load_queries
from cdc_bridge.runtime.reload import CurrentSettings

_queries = load_queries(__name__)

PRUNE_EVERY_SECONDS = 600.0

_log = structlog.get_logger(__name__)


class Pruner:
    """Prunes at intervals."""

    def __init__(self, database: Database, settings: CurrentSettings) -> None:
        """Prepare to prune.

        Args:
            database: Where change log and delivery log are.
            settings: Retention of settled deliveries and of dead letters.
        """
        self._database = database
        self._settings = settings

    async def run(self) -> None:
        """Prune at intervals until cancelled."""
        while True:
            for prune in (self._prune_secrets, self._prune_idempotency_keys, self._prune_logs):
                try:
                    await prune()
                except DATABASE_ERRORS as error:
                    _log.warning("pruning failed", problem=problem_of(error))
            await asyncio.sleep(PRUNE_EVERY_SECONDS)

    async def _prune_secrets(self) -> None:
        async with await self._database.connect() as connection:
            cursor = await connection.execute(_queries["expired_secrets"])
            # An update is announced to the daemons, even if it finds no row.
            if expired := [endpoint_id for (endpoint_id,) in await cursor.fetchall()]:
                await connection.execute(_queries["clear_expired_secrets"], {"endpoint_ids": expired})
                _log.info("expired secrets cleared", endpoints=len(expired))

    async def _prune_idempotency_keys(self) -> None:
        async with await self._database.connect() as connection:
            await connection.execute(_queries["prune_idempotency_keys"])

    async def _prune_logs(self) -> None:
        began, settings = time.monotonic(), self._settings.now
        kept = {"keep_days": settings.retention_days, "keep_dead_days": settings.dead_letter_retention_days}
        async with await self._database.connect() as connection:
            cursor = await connection.execute(_queries["prune"], kept)
            ((changes, deliveries),) = await cursor.fetchall()
        if changes or deliveries:
            _log.info("pruned", changes=changes, deliveries=deliveries, seconds=round(time.monotonic() - began, 3))
