"""Compares the endpoints that a daemon holds with e-Res's rows, at intervals and gently.

One endpoint at a time, on a connection of its own, with pauses. It is never a reason for the daemon to end: what goes
wrong is logged and tried again later. What was found stands in the endpoint's row and on one line of the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import psycopg
import structlog

from cdc_bridge import metrics
from cdc_bridge.database import UNAVAILABLE, Database, problem_of
from cdc_bridge.deliveries.enqueue import MAX_PENDING, Enqueuer
from cdc_bridge.deliveries.reconcile import ReconcileReport, SyncState, reconcile
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import load_queries
from cdc_bridge.runtime.reload import CurrentSettings
from cdc_bridge.runtime.supervisor import LeasedEndpoint

_queries = load_queries(__name__)

_LOOK_EVERY_SECONDS = 5.0
_TRY_AGAIN_AFTER_SECONDS = 300.0
_REPAIRED = (SyncState.MISSING, SyncState.STALE)

_log = structlog.get_logger(__name__)


class Holder(Protocol):
    """Who holds endpoints."""

    @property
    def held(self) -> Sequence[LeasedEndpoint]:
        """Those held now."""


class ScheduledReconcile:
    """Compares each endpoint held when its last comparison is an interval ago."""

    def __init__(self, database: Database, holder: Holder, settings: CurrentSettings) -> None:
        """Prepare to compare.

        Args:
            database: where everything is.
            holder: says which endpoints.
            settings: say how long after a comparison the next one begins, and whether it repairs.
        """
        self._database = database
        self._holder = holder
        self._settings = settings
        self._not_before: dict[EndpointId, float] = {}

    @property
    def _interval_seconds(self) -> float:
        return self._settings.now.reconcile_interval_seconds

    async def run(self) -> None:
        """Compare until cancelled."""
        while True:
            for held in self._holder.held if self._interval_seconds else ():
                if self._not_before.get(held.lease.endpoint_id, 0.0) <= time.monotonic():
                    await self._try(held)
            await asyncio.sleep(min(_LOOK_EVERY_SECONDS, self._interval_seconds or _LOOK_EVERY_SECONDS))

    async def _try(self, held: LeasedEndpoint) -> None:
        pause_seconds = min(self._interval_seconds, _TRY_AGAIN_AFTER_SECONDS)
        try:
            pause_seconds = await self._reconcile_if_due(held)
        except (psycopg.Error, BridgeError, *UNAVAILABLE) as error:
            _log.warning("reconcile failed", endpoint=held.endpoint.name, problem=problem_of(error))
        except Exception:  # noqa: BLE001 - whatever it is, the deliveries go on
            _log.exception("reconcile ended by a surprise", endpoint=held.endpoint.name)
        # Asked again soon even so: the interval may be another by then.
        pause_seconds = min(pause_seconds, _TRY_AGAIN_AFTER_SECONDS)
        self._not_before[held.lease.endpoint_id] = time.monotonic() + pause_seconds

    async def _reconcile_if_due(self, held: LeasedEndpoint) -> float:
        """Compare an endpoint if that is due; return in how many seconds it is due next."""
        endpoint = {"endpoint_id": held.lease.endpoint_id, "fencing_token": held.lease.fencing_token}
        async with await self._database.connect() as connection:
            cursor = await connection.execute(
                _queries["reconcile_due"], endpoint | {"interval_seconds": self._interval_seconds}
            )
            record = await cursor.fetchone()
            if record is None:
                return self._interval_seconds
            since, due_in_seconds = record
            if due_in_seconds > 0:
                return float(due_in_seconds)
            began, found = time.monotonic(), ReconcileReport(keep_ids=0)
            await reconcile(
                connection,
                held.lease.endpoint_id,
                since,
                found,
                repair=_REPAIRED if self._settings.now.reconcile_repair else (),
                enqueuer=Enqueuer(connection, held.lease.endpoint_id, MAX_PENDING, _Told(held.endpoint.name)),
                gently=True,
            )
            figures = {"missing": found.counts[SyncState.MISSING], "stale": found.counts[SyncState.STALE]}
            await connection.execute(_queries["note_reconciled"], endpoint | figures)
            for standing in SyncState:
                metrics.RECONCILED.labels(held.endpoint.name, standing.name.lower()).set(found.counts[standing])
            metrics.RECONCILED_AT.labels(held.endpoint.name).set_to_current_time()
        self._log(held, found, time.monotonic() - began)
        return self._interval_seconds

    @staticmethod
    def _log(held: LeasedEndpoint, found: ReconcileReport, seconds: float) -> None:
        figures = {standing.name.lower(): found.counts[standing] for standing in SyncState}
        wrong = found.counts[SyncState.MISSING] or found.counts[SyncState.STALE]
        (_log.warning if wrong else _log.info)(
            "reconciled", endpoint=held.endpoint.name, **figures, queued=found.queued, seconds=round(seconds, 3)
        )


class _Told:
    """Logs what a repair waits for, once."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._said: str | None = None

    def __call__(self, queue: Enqueuer) -> None:
        if queue.waiting_for is not None and queue.waiting_for != self._said:
            _log.info("reconcile waits", endpoint=self._endpoint, for_=queue.waiting_for)
            self._said = queue.waiting_for
