"""``cdc-bridge backfill``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_bridge.cli.counted import reservations
from cdc_bridge.cli.long_work import Show, WaitingWords, progress_bar, run_interruptibly
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from
from cdc_bridge.cli.times import instant

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

    from cdc_bridge.operations.backfill import Backfilled
    from cdc_bridge.operations.chosen_endpoint import ChosenEndpoint


def backfill(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The endpoint that is called.")],
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only reservations updated at this time or later; without a zone: UTC."),
    ] = None,
    at_most: Annotated[
        int, typer.Option(min=1, metavar="N", help="Queue no more while so many of its deliveries wait.")
    ] = 10_000,
    wait: Annotated[bool, typer.Option("--wait", help="End when all are delivered, not when they are queued.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and do nothing.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Call an endpoint with the reservations that it never had; the running daemon makes the calls.

    May be interrupted at any time; started again, it goes on.

    Example: cdc-bridge backfill till --since 2026-01-01 --dry-run
    """
    from_time = instant(since, "--since")
    url = database_url_from(config, database_url)
    from cdc_bridge.operations.backfill import Backfilled  # noqa: PLC0415

    done = Backfilled()
    run_interruptibly(
        _run(url, name, from_time, at_most, done, wait=wait, dry_run=dry_run),
        lambda: f"Queued by then: {reservations(done.queued)}. To go on, run it again.",
    )


async def _run(
    url: str, name: str, since: datetime | None, at_most: int, done: Backfilled, *, wait: bool, dry_run: bool
) -> None:
    from cdc_bridge.database import one_connection  # noqa: PLC0415
    from cdc_bridge.operations.backfill import count  # noqa: PLC0415
    from cdc_bridge.operations.checks import require_ready  # noqa: PLC0415
    from cdc_bridge.operations.chosen_endpoint import choose_endpoint  # noqa: PLC0415

    async with one_connection(url) as connection:
        await require_ready(connection)
        endpoint = await choose_endpoint(connection, name)
        endpoint.require_same_cluster()
        if endpoint.silence:
            typer.echo(endpoint.silence, err=True)
        if dry_run:
            counted = await count(connection, endpoint, since)
            typer.echo(
                f"To be queued for {endpoint.name}: {reservations(counted.lacking)} of {counted.looked_at:,}. "
                "Nothing was done."
            )
            return
        with progress_bar(f"backfill {endpoint.name}") as show:
            await _backfill(connection, endpoint, since, at_most, done, show, wait=wait)
        typer.echo(f"Queued for {endpoint.name}: {reservations(done.queued)}" + (", all settled." if wait else "."))
        if done.lacking > done.queued:
            typer.echo(
                f"Left out: {reservations(done.lacking - done.queued)}, called by now or with a change on its way."
            )


async def _backfill(
    connection: AsyncConnection[TupleRow],
    endpoint: ChosenEndpoint,
    since: datetime | None,
    at_most: int,
    done: Backfilled,
    show: Show,
    *,
    wait: bool,
) -> None:
    from cdc_bridge.operations.backfill import backfill as run  # noqa: PLC0415
    from cdc_bridge.operations.reservation_keys import ReservationKeys  # noqa: PLC0415

    total = await ReservationKeys(since).count(connection)
    waiting = WaitingWords()

    def told(done: Backfilled) -> None:
        words = f"queued {done.queued:,}, settled {done.settled:,}"
        show(done.looked_at, total, words + waiting.told(done.waits_for))

    await run(connection, endpoint, since=since, at_most=at_most, wait=wait, done=done, told=told)
