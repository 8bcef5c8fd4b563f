"""``cdc-bridge reconcile``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_bridge.cli.counted import reservations
from cdc_bridge.cli.long_work import run_interruptibly, shown
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from
from cdc_bridge.cli.times import instant

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

    from cdc_bridge.deliveries.reconcile import ReconcileReport, SyncState
    from cdc_bridge.endpoints.lookup import EndpointRef

_SHOWN_IDS = 20


def reconcile(
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="NAME", help="One endpoint; default: each of them.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Reservations updated at this time or later; without a zone: UTC. "
            "Default: 7 days ago, or when the endpoint was added. Never before what the ledger still has.",
        ),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Queue what is missing or stale, to be called.")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="With --repair: queue also what was given up.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with all ids.")] = False,
) -> None:
    """Compare e-Res's reservations with what endpoints were told of them last: proves that nothing was missed.

    Ends with 1 if something is missing, stale (it differs from what was delivered last) or dead (it was given up).

    Example: cdc-bridge reconcile --since 2026-07-01 --repair
    """
    if dead and not repair:
        raise typer.BadParameter("is of use with --repair only", param_hint="--dead")
    from_time = instant(since, "--since")
    url = database_url_from(config, database_url)
    from cdc_bridge.deliveries.reconcile import SyncState  # noqa: PLC0415

    wanted = {SyncState.MISSING, SyncState.STALE, *((SyncState.DEAD,) if dead else ())} if repair else set()
    results: list[tuple[EndpointRef, datetime, ReconcileReport]] = []
    run_interruptibly(
        _run(url, endpoint, from_time, wanted, results, keep_ids=None if json_ else _SHOWN_IDS),
        lambda: f"Queued by then: {reservations(sum(found.queued for _, _, found in results))}.",
    )
    all_well = all(found.in_sync for _, _, found in results)
    if json_:
        shown = [_as_json(*result) for result in results]
        typer.echo(json.dumps({"ok": all_well, "endpoints": shown}, indent=2))
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
    from cdc_bridge.checks.preflight import require_ready  # noqa: PLC0415
    from cdc_bridge.database import one_connection  # noqa: PLC0415
    from cdc_bridge.deliveries.reconcile import ReconcileReport  # noqa: PLC0415
    from cdc_bridge.endpoints.lookup import known_endpoints, resolve_endpoint  # noqa: PLC0415

    async with one_connection(url) as connection:
        await require_ready(connection)
        known = await known_endpoints(connection) if name is None else []
        endpoints = known or [await resolve_endpoint(connection, name)]
        for endpoint in endpoints:
            endpoint.require_same_cluster()
        for endpoint in endpoints:
            found = ReconcileReport(keep_ids)
            begins = endpoint.first_comparable(since)
            results.append((endpoint, begins, found))
            await _reconcile(connection, endpoint, begins, found, repair)


async def _reconcile(
    connection: AsyncConnection[TupleRow],
    endpoint: EndpointRef,
    since: datetime,
    found: ReconcileReport,
    repair: set[SyncState],
) -> None:
    from cdc_bridge.deliveries.enqueue import MAX_PENDING, Enqueuer  # noqa: PLC0415
    from cdc_bridge.deliveries.reconcile import reconcile as run  # noqa: PLC0415
    from cdc_bridge.deliveries.reservation_keys import ReservationKeys  # noqa: PLC0415

    total = await ReservationKeys(since).count(connection)
    with shown(f"compare {endpoint.name}") as bar:

        def told() -> None:
            bar.show(found.compared, total, f"queued {queue.queued:,}" if repair else "", queue.waiting_for)

        queue = Enqueuer(connection, endpoint.endpoint_id, MAX_PENDING, lambda _: told())
        await run(connection, endpoint.endpoint_id, since, found, on_progress=told, repair=repair, enqueuer=queue)


def _print(endpoint: EndpointRef, since: datetime, found: ReconcileReport, *, repair: set[SyncState]) -> None:
    from cdc_bridge.deliveries.reconcile import SyncState  # noqa: PLC0415

    typer.echo(f"{endpoint.name}: {reservations(found.compared)} updated since {since:%Y-%m-%d %H:%M:%S} UTC")
    for standing in SyncState:
        ids, number = found.ids.get(standing, []), found.counts[standing]
        more = f" and {number - len(ids):,} more" if ids and number > len(ids) else ""
        typer.echo(f"  {standing:<11}{number:>9,}" + (f"  {', '.join(ids)}{more}" if ids else ""))
    if repair:
        typer.echo(f"  Queued: {reservations(found.queued)}.")
    elif found.counts[SyncState.MISSING] or found.counts[SyncState.STALE]:
        typer.echo(f"  To call what is missing or stale: cdc-bridge reconcile --endpoint {endpoint.name} --repair")
    if found.counts[SyncState.DEAD] and SyncState.DEAD not in repair:
        typer.echo(f"  To call what is dead: cdc-bridge replay --endpoint {endpoint.name} --state dead")


def _as_json(endpoint: EndpointRef, since: datetime, found: ReconcileReport) -> dict[str, Any]:
    from cdc_bridge.deliveries.reconcile import SyncState  # noqa: PLC0415

    return {
        "endpoint": endpoint.name,
        "since": since.isoformat(),
        "compared": found.compared,
        **{standing.name.lower(): found.counts[standing] for standing in SyncState},
        "ids": {standing.name.lower(): ids for standing, ids in found.ids.items()},
        "queued": found.queued,
    }
