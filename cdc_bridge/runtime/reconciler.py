"""Background task that reconciles this daemon's endpoints with e-Res's rows at intervals.

One endpoint at a time, on a connection of its own, with pauses. A failure is logged and tried again later; it never
ends the daemon. The result is recorded in the endpoint's row and logged.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from cdc_bridge import metrics
from cdc_bridge.database import DATABASE_ERRORS, Database, problem_of
from cdc_bridge.deliveries.enqueue import MAX_PENDING, Enqueuer
from cdc_bridge.deliveries.reconcile import ComparedEndpoint, ReconcileReport, SyncState, reconcile
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import load_queries
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint, LeasedEndpoints
from cdc_bridge.runtime.reload import CurrentSettings

_queries = load_queries(__name__)

_LOOK_EVERY_SECONDS = 5.0
_TRY_AGAIN_AFTER_SECONDS = 300.0
_REPAIRED = (SyncState.MISSING, SyncState.STALE)

_log = structlog.get_logger(__name__)


class ScheduledReconcile:
    """Reconciles each leased endpoint an interval after its last reconcile."""

    def __init__(self, database: Database, supervisor: LeasedEndpoints, settings: CurrentSettings) -> None:
        """Prepare to reconcile.

        Args:
            database: Where endpoints, deliveries and reservations are.
            supervisor: Knows the leased endpoints.
            settings: The interval, and whether a reconcile repairs.
        """
        self._database = database
        self._supervisor = supervisor
        self._settings = settings
        self._not_before: dict[EndpointId, float] = {}

    @property
    def _interval_seconds(self) -> float:
        return self._settings.now.reconcile_interval_seconds

    async def run(self) -> None:
        """Reconcile at intervals until cancelled."""
        while True:
            for leased in self._supervisor.leased if self._interval_seconds else ():
                if self._not_before.get(leased.lease.endpoint_id, 0.0) <= time.monotonic():
                    await self._try(leased)
            await asyncio.sleep(min(_LOOK_EVERY_SECONDS, self._interval_seconds or _LOOK_EVERY_SECONDS))

    async def _try(self, leased: LeasedEndpoint) -> None:
        pause_seconds = min(self._interval_seconds, _TRY_AGAIN_AFTER_SECONDS)
        try:
            pause_seconds = await self._reconcile_if_due(leased)
        except (BridgeError, *DATABASE_ERRORS) as error:
            _log.warning("reconcile failed", endpoint=leased.endpoint.name, problem=problem_of(error))
        except Exception:  # noqa: BLE001 - whatever it is, the deliveries go on
            _log.exception("reconcile crashed", endpoint=leased.endpoint.name)
        # Check again soon even so: the interval may change meanwhile.
        pause_seconds = min(pause_seconds, _TRY_AGAIN_AFTER_SECONDS)
        self._not_before[leased.lease.endpoint_id] = time.monotonic() + pause_seconds

    async def _reconcile_if_due(self, leased: LeasedEndpoint) -> float:
        """Reconcile an endpoint if due; return the seconds until it is due next."""
        endpoint = {"endpoint_id": leased.lease.endpoint_id, "fencing_token": leased.lease.fencing_token}
        async with await self._database.connect() as connection, await self._database.connect_to_load() as loading:
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
                loading,
                ComparedEndpoint(leased.lease.endpoint_id, leased.endpoint.subscription, leased.endpoint.events),
                since,
                found,
                repair=_REPAIRED if self._settings.now.reconcile_repair else (),
                enqueuer=Enqueuer(connection, leased.lease.endpoint_id, MAX_PENDING, _WaitLog(leased.endpoint.name)),
                gently=True,
            )
            figures = {"missing": found.counts[SyncState.MISSING], "stale": found.counts[SyncState.STALE]}
            await connection.execute(_queries["note_reconciled"], endpoint | figures)
            for sync_state in SyncState:
                metrics.RECONCILED.labels(leased.endpoint.name, sync_state.name.lower()).set(found.counts[sync_state])
            metrics.RECONCILED_AT.labels(leased.endpoint.name).set_to_current_time()
        self._log(leased, found, time.monotonic() - began)
        return self._interval_seconds

    @staticmethod
    def _log(leased: LeasedEndpoint, found: ReconcileReport, seconds: float) -> None:
        figures = {sync_state.name.lower(): found.counts[sync_state] for sync_state in SyncState}
        wrong = found.counts[SyncState.MISSING] or found.counts[SyncState.STALE]
        (_log.warning if wrong else _log.info)(
            "reconciled", endpoint=leased.endpoint.name, **figures, queued=found.queued, seconds=round(seconds, 3)
        )


class _WaitLog:
    """Logs once what a repair waits for."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._logged: str | None = None

    def __call__(self, queue: Enqueuer) -> None:
        if queue.waiting_for is not None and queue.waiting_for != self._logged:
            _log.info("reconcile waiting", endpoint=self._endpoint, reason=queue.waiting_for)
            self._logged = queue.waiting_for
