"""``cdc-bridge backfill``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.audit.actor import of_command
from cdc_bridge.checks.preflight import require_ready
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from
from cdc_bridge.cli.progress import count_reservations, progress_bar, run_interruptibly
from cdc_bridge.cli.times import ACCEPTED, time_option
from cdc_bridge.console import print_line
from cdc_bridge.database import one_connection, one_loading_connection
from cdc_bridge.deliveries import backfill as backfills
from cdc_bridge.deliveries.backfill import BackfillOptions, BackfillProgress
from cdc_bridge.endpoints.lookup import EndpointRef, resolve_endpoint
from cdc_bridge.payload.keys import ReservationKeys
from cdc_bridge.sessions import LoadingConnection


def backfill(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The endpoint.")],
    since: Annotated[
        datetime | None,
        time_option("--since", f"Only reservations updated at this time or later: {ACCEPTED}"),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Send also reservations that the endpoint has, each under a new number.")
    ] = False,
    at_most: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pause queueing while the endpoint has N pending deliveries.")
    ] = 10_000,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until everything queued is settled.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and queue nothing.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Send an endpoint the reservations it never received.

    Those that are in its payload and meet its conditions. Queues deliveries; the running daemon sends them. Safe to
    interrupt: run it again to continue. (With --again it starts over.)

    Example: cdc-bridge backfill till --since 2026-01-01 --dry-run
    """
    url = database_url_from(config, database_url)
    wanted, done = BackfillOptions(since, again, at_most, wait), BackfillProgress()
    run_interruptibly(
        _run(url, name, wanted, done, dry_run=dry_run),
        lambda: f"Queued so far: {count_reservations(done.queued)}. Run it again to continue.",
    )


async def _run(url: str, name: str, wanted: BackfillOptions, done: BackfillProgress, *, dry_run: bool) -> None:
    async with one_connection(url) as connection, one_loading_connection(url) as loading:
        await require_ready(connection)
        endpoint = await resolve_endpoint(connection, name)
        endpoint.require_same_cluster()
        if endpoint.silence:
            print_line(f"{endpoint.silence}: cdc-bridge endpoint resume {endpoint.name}", err=True)
        if dry_run:
            counted = await backfills.count(connection, loading, endpoint, wanted)
            found = f"{count_reservations(counted.selected)} of {counted.read:,}"
            print_line(f"Would queue for {endpoint.name}: {found}. Nothing was queued.")
            return
        await _backfill(connection, loading, endpoint, wanted, done)
        print_line(
            f"Queued for {endpoint.name}: {count_reservations(done.queued)}"
            + (", all settled." if wanted.wait else ".")
        )
        if left_out := done.selected - done.queued:
            print_line(f"Not queued: {count_reservations(left_out)}, delivered meanwhile or with a change in the log.")


async def _backfill(
    connection: AsyncConnection[TupleRow],
    loading: LoadingConnection,
    endpoint: EndpointRef,
    wanted: BackfillOptions,
    done: BackfillProgress,
) -> None:
    total = await ReservationKeys(wanted.since, endpoint.subscription).count(loading)
    with progress_bar(f"backfill {endpoint.name}") as bar:

        def show(done: BackfillProgress) -> None:
            bar.show(done.read, total, f"queued {done.queued:,}, settled {done.settled:,}", done.waiting_for)

        await backfills.backfill(
            connection, loading, endpoint, wanted, progress=done, on_progress=show, by=of_command()
        )
