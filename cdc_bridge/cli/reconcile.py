"""``cdc-bridge reconcile``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.audit.actor import of_command
from cdc_bridge.audit.log import Action, record
from cdc_bridge.checks.preflight import require_ready
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, database_url_from
from cdc_bridge.cli.progress import ProgressBar, count_reservations, progress_bar, run_interruptibly
from cdc_bridge.cli.times import ACCEPTED, time_option
from cdc_bridge.console import print_json, print_line
from cdc_bridge.database import one_connection, one_loading_connection
from cdc_bridge.deliveries import reconcile as reconciliation
from cdc_bridge.deliveries.enqueue import MAX_PENDING, Enqueuer
from cdc_bridge.deliveries.reconcile import ComparedEndpoint, ReconcileReport, SyncState
from cdc_bridge.endpoints.lookup import EndpointRef, known_endpoints, resolve_endpoint
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, InstallationError
from cdc_bridge.model import Events
from cdc_bridge.payload.keys import ReservationKeys
from cdc_bridge.sessions import LoadingConnection

_SHOWN_IDS = 20
_FEW = 20
"""Endpoints that are printed one by one."""


def reconcile(
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="NAME", help="This endpoint. Default: all.")
    ] = None,
    since: Annotated[
        datetime | None,
        time_option(
            "--since",
            f"Reservations updated at this time or later: {ACCEPTED} Default: 7 days ago, or when the "
            "endpoint was added. Never earlier than the delivery log reaches.",
        ),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Queue what is missing or stale.")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="With --repair: queue dead deliveries as well.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Find reservations that an endpoint missed or has stale.

    Compares the current data of every reservation that the endpoint gets with what was delivered last. Exit code 1: a
    reservation is missing, stale (the endpoint has older data) or dead (all attempts failed). Lists 20 ids of each
    kind, and of many endpoints the first 20 that are out of sync; with --json all of them.

    Example: cdc-bridge reconcile --since 2026-07-01 --repair
    """
    if dead and not repair:
        raise typer.BadParameter("needs --repair", param_hint="--dead")
    url = database_url_from(config, database_url)
    wanted = {SyncState.MISSING, SyncState.STALE, *((SyncState.DEAD,) if dead else ())} if repair else set()
    results: list[_Result] = []
    run_interruptibly(
        _run(url, endpoint, since, wanted, results, keep_ids=None if json_ else _SHOWN_IDS),
        lambda: f"Queued so far: {count_reservations(sum(result.found.queued for result in results))}.",
    )
    all_well = all(result.in_sync for result in results)
    if json_:
        print_json({"ok": all_well, "endpoints": [_as_json(result) for result in results]})
    elif len(results) <= _FEW:
        for result in results:
            _print(result, repair=wanted)
    else:
        _print_many(results, repair=wanted)
    raise typer.Exit(0 if all_well else 1)


@dataclass(slots=True)
class _Result:
    endpoint: EndpointRef
    since: datetime
    found: ReconcileReport
    problem: str | None = None
    """Why it could not be compared."""

    @property
    def in_sync(self) -> bool:
        return self.found.in_sync and self.problem is None


async def _run(
    url: str,
    name: str | None,
    since: datetime | None,
    repair: set[SyncState],
    results: list[_Result],
    *,
    keep_ids: int | None,
) -> None:
    async with one_connection(url) as connection, one_loading_connection(url) as loading:
        await require_ready(connection)
        known = await known_endpoints(connection) if name is None else []
        endpoints = known or [await resolve_endpoint(connection, name)]
        for endpoint in endpoints:
            endpoint.require_same_cluster()
        with progress_bar("compare endpoints") if len(endpoints) > _FEW else nullcontext() as of_all:
            for number, endpoint in enumerate(endpoints):
                result = _Result(endpoint, endpoint.first_comparable(since), ReconcileReport(keep_ids))
                results.append(result)
                if of_all is not None:
                    of_all.show(number, len(endpoints), endpoint.name)
                try:
                    await _reconcile(connection, loading, result, repair, of_all)
                except (DatabaseUnavailable, InstallationError):
                    raise
                except BridgeError as error:
                    if len(endpoints) == 1:
                        raise
                    result.problem = error.problem  # The others are compared.


async def _reconcile(
    connection: AsyncConnection[TupleRow],
    loading: LoadingConnection,
    result: _Result,
    repair: set[SyncState],
    of_all: ProgressBar | None,
) -> None:
    endpoint, found = result.endpoint, result.found
    subscription = endpoint.subscription
    total = 0
    if of_all is None:  # To count them takes about as long as to compare them.
        keys = ReservationKeys(result.since, subscription, created=endpoint.events is Events.CREATED)
        total = await keys.count(loading)
    with progress_bar(f"compare {endpoint.name}") if of_all is None else nullcontext() as bar:

        def show() -> None:
            if bar is not None:
                bar.show(found.compared, total, f"queued {queue.queued:,}" if repair else "", queue.waiting_for)

        queue = Enqueuer(connection, endpoint.endpoint_id, MAX_PENDING, lambda _: show())
        if repair:
            await record(connection, of_command(), Action.REPAIR_STARTED, endpoint.name, states=sorted(repair))
        await reconciliation.reconcile(
            connection,
            loading,
            ComparedEndpoint(endpoint.endpoint_id, subscription, endpoint.events),
            result.since,
            found,
            on_progress=show,
            repair=repair,
            enqueuer=queue,
        )


def _print_many(results: Sequence[_Result], *, repair: set[SyncState]) -> None:
    out_of_sync = [result for result in results if not result.in_sync]
    for result in out_of_sync[:_FEW]:
        _print(result, repair=repair)
    compared = sum(result.found.compared for result in results)
    print_line(f"{len(results):,} endpoints: {count_reservations(compared)} compared")
    print_line(f"  in sync     {len(results) - len(out_of_sync):>9,}")
    print_line(f"  out of sync {len(out_of_sync):>9,}")
    if len(out_of_sync) > _FEW:
        print_line("  To list all of them: --json")
    if repair:
        print_line(f"  Queued: {count_reservations(sum(result.found.queued for result in results))}.")


def _print(result: _Result, *, repair: set[SyncState]) -> None:
    endpoint, since, found = result.endpoint, result.since, result.found
    if result.problem is not None:
        print_line(f"{endpoint.name}: cannot be compared: {result.problem}")
        return
    changed = "created" if endpoint.events is Events.CREATED else "updated"
    whose = f"whose {changed} column is {since:%Y-%m-%d %H:%M:%S} UTC or later"
    print_line(f"{endpoint.name}: {count_reservations(found.compared)} {whose}")
    if not found.compared:
        print_line("  To compare older ones: cdc-bridge reconcile --since 2000-01-01")
    for state in SyncState:
        ids, number = found.ids.get(state, []), found.counts[state]
        more = f" and {number - len(ids):,} more" if ids and number > len(ids) else ""
        print_line(f"  {state:<12}{number:>9,}" + (f"  {', '.join(ids)}{more}" if ids else ""))
    if repair:
        print_line(f"  Queued: {count_reservations(found.queued)}.")
    elif found.counts[SyncState.MISSING] or found.counts[SyncState.STALE]:
        print_line(f"  To send what is missing or stale: cdc-bridge reconcile --endpoint {endpoint.name} --repair")
    if found.counts[SyncState.DEAD] and SyncState.DEAD not in repair:
        print_line(f"  To send what is dead: cdc-bridge replay --endpoint {endpoint.name} --state dead")


def _as_json(result: _Result) -> dict[str, Any]:
    found = result.found
    return {
        "endpoint": result.endpoint.name,
        "since": result.since.isoformat(),
        "problem": result.problem,
        "compared": found.compared,
        **{state.name.lower(): found.counts[state] for state in SyncState},
        "ids": {state.name.lower(): ids for state, ids in found.ids.items()},
        "queued": found.queued,
    }
