"""``cdc-bridge replay``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_bridge.cli.counted import reservations
from cdc_bridge.cli.long_work import run_interruptibly, shown
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from
from cdc_bridge.cli.times import instant

if TYPE_CHECKING:
    from cdc_bridge.deliveries.replay import ReplayProgress, Selection


class _State(StrEnum):
    dead = "dead"
    queued = "queued"
    retrying = "retrying"
    delivered = "delivered"
    skipped = "skipped"


def replay(
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="NAME", help="Who is called; needed where there are several.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Reservations called at this time or later; without a zone: UTC.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="And before this time.")] = None,
    reservation: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="This reservation. May be given several times.")
    ] = None,
    state: Annotated[
        list[_State] | None,
        typer.Option(help="Reservations whose newest delivery is in this state. May be given several times."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and do nothing.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Call reservations once more, each with its content as it stands then; the running daemon makes the calls.

    Example: cdc-bridge replay --since 2026-07-01T18:00+01:00 --until 2026-07-01T19:30+01:00 --dry-run
    """
    selection = _selection(since, until, reservation or [], state or [])
    url = database_url_from(config, database_url)
    from cdc_bridge.deliveries.replay import ReplayProgress  # noqa: PLC0415

    done = ReplayProgress()
    run_interruptibly(
        _replay(url, endpoint, selection, done, dry_run=dry_run),
        lambda: f"Queued by then: {reservations(done.queued)}.",
    )
    if missing := sorted(set(selection.reservation_ids) - done.named):
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        typer.echo(
            f"Not queued: {shown}. The ledger has nothing of that kind; for what it never had: cdc-bridge backfill",
            err=True,
        )
        raise typer.Exit(1)


def _selection(since: str | None, until: str | None, ids: list[str], states: list[_State]) -> Selection:
    from cdc_bridge.deliveries.replay import Selection  # noqa: PLC0415
    from cdc_bridge.model import DeliveryState, ReservationId  # noqa: PLC0415

    selection = Selection(
        instant(since, "--since"),
        instant(until, "--until"),
        [ReservationId(id_) for id_ in ids],
        [DeliveryState(state) for state in states],
    )
    if any(not id_.isprintable() for id_ in ids):
        raise typer.BadParameter("has characters that are not to be printed", param_hint="--reservation")
    if selection == Selection(reservation_ids=[], states=[]):
        raise typer.BadParameter("say which reservations: --since, --until, --reservation or --state")
    if selection.since is not None and selection.until is not None and selection.since >= selection.until:
        raise typer.BadParameter("is not before --until", param_hint="--since")
    return selection


async def _replay(url: str, name: str | None, selection: Selection, done: ReplayProgress, *, dry_run: bool) -> None:
    from cdc_bridge.checks.preflight import require_ready  # noqa: PLC0415
    from cdc_bridge.database import one_connection  # noqa: PLC0415
    from cdc_bridge.deliveries.replay import count  # noqa: PLC0415
    from cdc_bridge.deliveries.replay import replay as run  # noqa: PLC0415
    from cdc_bridge.endpoints.lookup import resolve_endpoint  # noqa: PLC0415

    async with one_connection(url) as connection:
        await require_ready(connection)
        endpoint = await resolve_endpoint(connection, name)
        endpoint.require_same_cluster()
        counted = await count(connection, endpoint, selection)
        if dry_run:
            done.named = counted.named
            typer.echo(f"To be queued for {endpoint.name}: {reservations(counted.selected)}. Nothing was done.")
            return
        with shown(f"replay to {endpoint.name}") as bar:
            await run(connection, endpoint, selection, done, lambda done: bar.show(done.selected, counted.selected))
        typer.echo(f"Queued for {endpoint.name}: {reservations(done.queued)}.")
        if done.left_out:
            typer.echo(f"Left out: {reservations(done.left_out)}, with a newer change on its way or called just now.")
        if endpoint.silence:
            typer.echo(endpoint.silence, err=True)
