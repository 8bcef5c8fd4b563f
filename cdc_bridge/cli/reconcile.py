"""``cdc-bridge reconcile``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.checks.preflight import require_ready
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, database_url_from, time_option
from cdc_bridge.cli.progress import count_reservations, progress_bar, run_interruptibly
from cdc_bridge.console import print_json, print_line
from cdc_bridge.database import one_connection, one_loading_connection
from cdc_bridge.deliveries import reconcile as reconciliation
from cdc_bridge.deliveries.enqueue import MAX_PENDING, Enqueuer
from cdc_bridge.deliveries.reconcile import ComparedEndpoint, ReconcileReport, SyncState
from cdc_bridge.endpoints.lookup import EndpointRef, known_endpoints, resolve_endpoint
from cdc_bridge.model import Events
from cdc_bridge.payload.keys import ReservationKeys
from cdc_bridge.sessions import LoadingConnection

_SHOWN_IDS = 20


def reconcile(
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="NAME", help="This endpoint. Default: all.")
    ] = None,
    since: Annotated[
        datetime | None,
        time_option(
            "--since",
            "Reservations updated at this time or later. UTC unless it has a zone. Default: 7 days ago, or when the "
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
    kind, with --json all of them.

    Example: cdc-bridge reconcile --since 2026-07-01 --repair
    """
    if dead and not repair:
        raise typer.BadParameter("needs --repair", param_hint="--dead")
    url = database_url_from(config, database_url)
    wanted = {SyncState.MISSING, SyncState.STALE, *((SyncState.DEAD,) if dead else ())} if repair else set()
    results: list[tuple[EndpointRef, datetime, ReconcileReport]] = []
    run_interruptibly(
        _run(url, endpoint, since, wanted, results, keep_ids=None if json_ else _SHOWN_IDS),
        lambda: f"Queued so far: {count_reservations(sum(found.queued for _, _, found in results))}.",
    )
    all_well = all(found.in_sync for _, _, found in results)
    if json_:
        print_json({"ok": all_well, "endpoints": [_as_json(*result) for result in results]})
    else:
        for result in results:
            _print(*result, repair=wanted)
    raise typer.Exit(0 if all_well else 1)


async def _run(
    url: str,
    name: str | None,
    since: datetime | None,
    repair: set[SyncState],
    results: list[tuple[EndpointRef, datetime, ReconcileReport]],
    *,
    keep_ids: int | None,
) -> None:
    async with one_connection(url) as connection, one_loading_connection(url) as loading:
        await require_ready(connection)
        known = await known_endpoints(connection) if name is None else []
        endpoints = known or [await resolve_endpoint(connection, name)]
        for endpoint in endpoints:
            endpoint.require_same_cluster()
        for endpoint in endpoints:
            found = ReconcileReport(keep_ids)
            begins = endpoint.first_comparable(since)
            results.append((endpoint, begins, found))
            await _reconcile(connection, loading, endpoint, begins, found, repair)


async def _reconcile(
    connection: AsyncConnection[TupleRow],
    loading: LoadingConnection,
    endpoint: EndpointRef,
    since: datetime,
    found: ReconcileReport,
    repair: set[SyncState],
) -> None:
    keys = ReservationKeys(since, endpoint.subscription, created=endpoint.events is Events.CREATED)
    total = await keys.count(loading)
    with progress_bar(f"compare {endpoint.name}") as bar:

        def show() -> None:
            bar.show(found.compared, total, f"queued {queue.queued:,}" if repair else "", queue.waiting_for)

        queue = Enqueuer(connection, endpoint.endpoint_id, MAX_PENDING, lambda _: show())
        await reconciliation.reconcile(
            connection,
            loading,
            ComparedEndpoint(endpoint.endpoint_id, endpoint.subscription, endpoint.events),
            since,
            found,
            on_progress=show,
            repair=repair,
            enqueuer=queue,
        )


def _print(endpoint: EndpointRef, since: datetime, found: ReconcileReport, *, repair: set[SyncState]) -> None:
    changed = "created" if endpoint.events is Events.CREATED else "updated"
    print_line(f"{endpoint.name}: {count_reservations(found.compared)} {changed} since {since:%Y-%m-%d %H:%M:%S} UTC")
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


def _as_json(endpoint: EndpointRef, since: datetime, found: ReconcileReport) -> dict[str, Any]:
    return {
        "endpoint": endpoint.name,
        "since": since.isoformat(),
        "compared": found.compared,
        **{state.name.lower(): found.counts[state] for state in SyncState},
        "ids": {state.name.lower(): ids for state, ids in found.ids.items()},
        "queued": found.queued,
    }
