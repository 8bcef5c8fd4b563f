"""``cdc-bridge replay``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from cdc_bridge.audit.actor import of_command
from cdc_bridge.checks.preflight import require_ready
from cdc_bridge.checks.verdict import listed
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from, reservation_key
from cdc_bridge.cli.progress import count_reservations, progress_bar, run_interruptibly
from cdc_bridge.cli.times import ACCEPTED, time_option
from cdc_bridge.console import print_line
from cdc_bridge.database import one_connection
from cdc_bridge.deliveries import replay as replays
from cdc_bridge.deliveries.replay import ReplayProgress, Selection
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.model import DeliveryState, ReservationId


def replay(
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="NAME", help="The endpoint; may be left out if there is one.")
    ] = None,
    since: Annotated[
        datetime | None,
        time_option("--since", f"Reservations sent at this time or later: {ACCEPTED}"),
    ] = None,
    until: Annotated[datetime | None, time_option("--until", "And before this time, given as for --since.")] = None,
    reservation: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", parser=reservation_key, help="This reservation. May be repeated."),
    ] = None,
    state: Annotated[
        list[DeliveryState] | None,
        typer.Option(help="Reservations whose newest delivery is in this state. May be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and queue nothing.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Send reservations again that were sent before.

    Queues the newest delivery of each; the running daemon sends it with the reservation's current data.

    Example: cdc-bridge replay --since 2026-07-01T18:00+01:00 --until 2026-07-01T19:30+01:00 --dry-run
    """
    selection = _selection(since, until, reservation or [], state or [])
    url = database_url_from(config, database_url)
    done = ReplayProgress()
    run_interruptibly(
        _replay(url, endpoint, selection, done, dry_run=dry_run),
        lambda: f"Queued so far: {count_reservations(done.queued)}.",
    )
    if missing := sorted(set(selection.reservation_ids) - done.named):
        print_line(
            f"Not queued: {listed(missing)}. The delivery log has no such delivery. To send a reservation for the "
            "first time: cdc-bridge backfill",
            err=True,
        )
        raise typer.Exit(1)


def _selection(
    since: datetime | None, until: datetime | None, ids: list[str], states: list[DeliveryState]
) -> Selection:
    selection = Selection(since, until, [ReservationId(id_) for id_ in ids], states)
    if selection == Selection(reservation_ids=[], states=[]):
        raise typer.BadParameter("say which reservations: --since, --until, --reservation or --state")
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("must be before --until", param_hint="--since")
    return selection


async def _replay(url: str, name: str | None, selection: Selection, done: ReplayProgress, *, dry_run: bool) -> None:
    async with one_connection(url) as connection:
        await require_ready(connection)
        endpoint = await resolve_endpoint(connection, name)
        endpoint.require_same_cluster()
        counted = await replays.count(connection, endpoint, selection)
        if dry_run:
            done.named = counted.named
            print_line(f"Would queue for {endpoint.name}: {count_reservations(counted.selected)}. Nothing was queued.")
            return
        with progress_bar(f"replay to {endpoint.name}") as bar:
            await replays.replay(
                connection,
                endpoint,
                selection,
                done,
                lambda done: bar.show(done.selected, counted.selected),
                by=of_command(),
            )
        print_line(f"Queued for {endpoint.name}: {count_reservations(done.queued)}.")
        if done.left_out:
            print_line(
                f"Not queued: {count_reservations(done.left_out)}, delivered meanwhile or with a change in the log."
                " That change is sent, unless the endpoint skips unchanged bodies: then run it again in a while."
            )
        if endpoint.silence:
            print_line(f"{endpoint.silence}: cdc-bridge endpoint resume {endpoint.name}", err=True)
