"""``cdc-bridge backfill``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_bridge.cli.counted import reservations
from cdc_bridge.cli.long_work import run_interruptibly, shown
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from
from cdc_bridge.cli.times import instant

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

    from cdc_bridge.deliveries.backfill import BackfillOptions, BackfillProgress
    from cdc_bridge.endpoints.lookup import EndpointRef


def backfill(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The endpoint that is called.")],
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only reservations updated at this time or later; without a zone: UTC."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also reservations that it had, each under a new number.")
    ] = False,
    at_most: Annotated[
        int, typer.Option(min=1, metavar="N", help="Queue no more while so many of its deliveries wait.")
    ] = 10_000,
    wait: Annotated[bool, typer.Option("--wait", help="End when all are delivered, not when they are queued.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and do nothing.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Call an endpoint with the reservations that it never had; the running daemon makes the calls.

    May be interrupted at any time; started again, it goes on. (With --again it begins anew.)

    Example: cdc-bridge backfill till --since 2026-01-01 --dry-run
    """
    from_time = instant(since, "--since")
    url = database_url_from(config, database_url)
    from cdc_bridge.deliveries.backfill import BackfillOptions, BackfillProgress  # noqa: PLC0415

    wanted, done = BackfillOptions(from_time, again, at_most, wait), BackfillProgress()
    run_interruptibly(
        _run(url, name, wanted, done, dry_run=dry_run),
        lambda: f"Queued by then: {reservations(done.queued)}. To go on, run it again.",
    )


async def _run(url: str, name: str, wanted: BackfillOptions, done: BackfillProgress, *, dry_run: bool) -> None:
    from cdc_bridge.checks.preflight import require_ready  # noqa: PLC0415
    from cdc_bridge.database import one_connection  # noqa: PLC0415
    from cdc_bridge.deliveries.backfill import count  # noqa: PLC0415
    from cdc_bridge.endpoints.lookup import resolve_endpoint  # noqa: PLC0415

    async with one_connection(url) as connection:
        await require_ready(connection)
        endpoint = await resolve_endpoint(connection, name)
        endpoint.require_same_cluster()
        if endpoint.silence:
            typer.echo(endpoint.silence, err=True)
        if dry_run:
            counted = await count(connection, endpoint, wanted)
            queued = f"{reservations(counted.selected)} of {counted.read:,}"
            typer.echo(f"To be queued for {endpoint.name}: {queued}. Nothing was done.")
            return
        await _backfill(connection, endpoint, wanted, done)
        typer.echo(
            f"Queued for {endpoint.name}: {reservations(done.queued)}" + (", all settled." if wanted.wait else ".")
        )
        if left_out := done.selected - done.queued:
            typer.echo(f"Left out: {reservations(left_out)}, called by now or with a change on its way.")


async def _backfill(
    connection: AsyncConnection[TupleRow], endpoint: EndpointRef, wanted: BackfillOptions, done: BackfillProgress
) -> None:
    from cdc_bridge.deliveries.backfill import backfill as run  # noqa: PLC0415
    from cdc_bridge.deliveries.reservation_keys import ReservationKeys  # noqa: PLC0415

    total = await ReservationKeys(wanted.since).count(connection)
    with shown(f"backfill {endpoint.name}") as bar:

        def told(done: BackfillProgress) -> None:
            bar.show(done.read, total, f"queued {done.queued:,}, settled {done.settled:,}", done.waiting_for)

        await run(connection, endpoint, wanted, done, told)
