"""Background task that reconciles this daemon's endpoints with e-Res's rows at intervals.

One endpoint at a time, on two connections of its own, with pauses. Those of many endpoints are spread: so many that one
begins every ten seconds do not begin all at once. One statement asks which are due, whatever their number. A failure is
logged and tried again later; it never ends the daemon. The result is recorded in the endpoint's row and logged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.database import DATABASE_ERRORS, Database, problem_of
from cdc_bridge.deliveries.enqueue import MAX_PENDING, Enqueuer
from cdc_bridge.deliveries.reconcile import ComparedEndpoint, ReconcileReport, SyncState, reconcile
from cdc_bridge.errors import BridgeError
from cdc_bridge.metrics import SERIES
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import load_queries
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint, LeasedEndpoints
from cdc_bridge.runtime.reload import CurrentSettings

_queries = load_queries(__name__)

_LOOK_EVERY_SECONDS = 60.0
_NOTHING_TO_DO_SECONDS = 5.0
_LONGEST_BETWEEN_TWO_SECONDS = 10.0
_TRY_AGAIN_AFTER_SECONDS = 300.0
_MOST_AT_A_TIME = 100
_REPAIRED = (SyncState.MISSING, SyncState.STALE)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Due:
    """An endpoint to be reconciled, and from when on it can be."""

    leased: LeasedEndpoint
    since: datetime


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
            if not self._interval_seconds or not self._supervisor.number_leased:
                await asyncio.sleep(_NOTHING_TO_DO_SECONDS)
                continue
            due: Sequence[_Due] = ()
            try:
                due = await self._find_due()
            except (BridgeError, *DATABASE_ERRORS) as error:
                _log.warning("reconcile failed", problem=problem_of(error))
            tried = [await self._try(one) for one in due]
            if due and not any(tried):
                await asyncio.sleep(_NOTHING_TO_DO_SECONDS)
            if not due:
                await asyncio.sleep(min(_LOOK_EVERY_SECONDS, self._interval_seconds or _NOTHING_TO_DO_SECONDS))

    async def _find_due(self) -> list[_Due]:
        """Return the leased endpoints whose last reconcile is longest ago, if they are due."""
        now = time.monotonic()
        self._not_before = {endpoint_id: at for endpoint_id, at in self._not_before.items() if at > now}
        leased = {one.endpoint_id: one for one in self._supervisor.leased}
        for registration in {one.lease.registration for one in leased.values()}:
            asked = {
                "daemon_id": registration.daemon_id,
                "left_out": list(self._not_before),
                "interval_seconds": self._interval_seconds,
                "limit": _MOST_AT_A_TIME,
            }
            found = await self._database.patiently(partial(_find_due, asked=asked))
            return [
                _Due(one, since)
                for endpoint_id, fencing_token, since in found
                if (one := leased.get(endpoint_id)) is not None and one.lease.fencing_token == fencing_token
            ]
        return []

    async def _try(self, due: _Due) -> bool:
        """Reconcile an endpoint and wait until the next one may begin; return whether its lease was still ours."""
        leased, began = due.leased, time.monotonic()
        if leased.stopping or not leased.lease.valid:
            return False
        try:
            await self._reconcile(due)
        except (BridgeError, *DATABASE_ERRORS) as error:
            _log.warning("reconcile failed", endpoint=leased.endpoint.name, problem=problem_of(error))
            self._put_off(leased)
        except Exception:  # noqa: BLE001 - whatever it is, the deliveries go on
            _log.exception("reconcile crashed", endpoint=leased.endpoint.name)
            self._put_off(leased)
        apart = min(_LONGEST_BETWEEN_TWO_SECONDS, self._interval_seconds / max(1, self._supervisor.number_leased))
        await asyncio.sleep(max(0.0, began + apart - time.monotonic()))
        return True

    def _put_off(self, leased: LeasedEndpoint) -> None:
        pause_seconds = min(self._interval_seconds, _TRY_AGAIN_AFTER_SECONDS)
        self._not_before[leased.endpoint_id] = time.monotonic() + pause_seconds

    async def _reconcile(self, due: _Due) -> None:
        leased = due.leased
        began, found = time.monotonic(), ReconcileReport(keep_ids=0)
        async with await self._database.connect() as connection, await self._database.connect_to_load() as loading:
            await reconcile(
                connection,
                loading,
                ComparedEndpoint(leased.endpoint_id, leased.endpoint.subscription, leased.endpoint.events),
                due.since,
                found,
                repair=_REPAIRED if self._settings.now.reconcile_repair else (),
                enqueuer=Enqueuer(connection, leased.endpoint_id, MAX_PENDING, _WaitLog(leased.endpoint.name)),
                gently=True,
            )
            result = {
                "endpoint_id": leased.endpoint_id,
                "fencing_token": leased.lease.fencing_token,
                "missing": found.counts[SyncState.MISSING],
                "stale": found.counts[SyncState.STALE],
            }
            await connection.execute(_queries["note_reconciled"], result)
        SERIES.reconciled(leased.endpoint.name, {state.name.lower(): found.counts[state] for state in SyncState})
        self._log(leased, found, time.monotonic() - began)

    @staticmethod
    def _log(leased: LeasedEndpoint, found: ReconcileReport, seconds: float) -> None:
        figures = {sync_state.name.lower(): found.counts[sync_state] for sync_state in SyncState}
        wrong = found.counts[SyncState.MISSING] or found.counts[SyncState.STALE]
        (_log.warning if wrong else _log.info)(
            "reconciled", endpoint=leased.endpoint.name, **figures, queued=found.queued, seconds=round(seconds, 3)
        )


async def _find_due(
    connection: AsyncConnection[TupleRow], asked: Mapping[str, object]
) -> list[tuple[EndpointId, int, datetime]]:
    cursor = await connection.execute(_queries["reconcile_due"], asked)
    return [(EndpointId(endpoint_id), token, since) for endpoint_id, token, since in await cursor.fetchall()]


class _WaitLog:
    """Logs once what a repair waits for."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._logged: str | None = None

    def __call__(self, queue: Enqueuer) -> None:
        if queue.waiting_for is not None and queue.waiting_for != self._logged:
            _log.info("reconcile waiting", endpoint=self._endpoint, reason=queue.waiting_for)
            self._logged = queue.waiting_for
