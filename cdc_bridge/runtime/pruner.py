"""Has change log and ledger pruned from time to time, gently.

What is deleted, and what never is, the procedure in the database decides; it pauses after each page for as long as that
took. Several daemons may do it at once. It is never a reason for the daemon to end: what goes wrong is logged and tried
again later.
"""

from __future__ import annotations

import asyncio
import time

import psycopg
import structlog

from cdc_bridge.database import UNAVAILABLE, Database, problem_of
from cdc_bridge.queries import load_queries
from cdc_bridge.runtime.reload import CurrentSettings

_queries = load_queries(__name__)

PRUNE_EVERY_SECONDS = 600.0

_log = structlog.get_logger(__name__)


class Pruner:
    """Prunes."""

    def __init__(self, database: Database, settings: CurrentSettings) -> None:
        """Prepare to prune.

        Args:
            database: where change log and ledger are.
            settings: say how long what is settled is kept, and how long what was given up.
        """
        self._database = database
        self._settings = settings

    async def run(self) -> None:
        """Prune now and then until cancelled."""
        while True:
            try:
                await self._prune()
            except (psycopg.Error, *UNAVAILABLE) as error:
                _log.warning("pruning failed", problem=problem_of(error))
            await asyncio.sleep(PRUNE_EVERY_SECONDS)

    async def _prune(self) -> None:
        began, settings = time.monotonic(), self._settings.now
        kept = {"keep_days": settings.retention_days, "keep_dead_days": settings.dead_letter_retention_days}
        async with await self._database.connect() as connection:
            cursor = await connection.execute(_queries["prune"], kept)
            ((changes, deliveries),) = await cursor.fetchall()
        if changes or deliveries:
            _log.info("pruned", changes=changes, deliveries=deliveries, seconds=round(time.monotonic() - began, 3))
