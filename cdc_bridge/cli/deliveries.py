"""``cdc-bridge deliveries``."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, database_url_from, print_json
from cdc_bridge.cli.times import instant

if TYPE_CHECKING:
    from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter, DeliveryPage
    from cdc_bridge.deliveries.logged_delivery import LoggedDelivery

_WIDE = 300  # where there is no terminal, a line is a line


class _State(StrEnum):
    queued = "queued"
    retrying = "retrying"
    delivered = "delivered"
    superseded = "superseded"
    dead = "dead"
    skipped = "skipped"


def deliveries(
    endpoint: Annotated[str | None, typer.Option("--endpoint", metavar="NAME", help="Of this endpoint alone.")] = None,
    state: Annotated[list[_State] | None, typer.Option(help="In this state. May be given several times.")] = None,
    reservation: Annotated[str | None, typer.Option(metavar="ID", help="Of this reservation.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of changes made at this time or later; without a zone: UTC.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="And before this time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most that are shown.")] = 50,
    after: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Go on where a list ended: what it said to give here.")
    ] = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """List the latest deliveries, newest change first.

    Example: cdc-bridge deliveries --state dead --endpoint till
    """
    wanted = _wanted(endpoint, state or [], reservation, since, until)
    place = None if after is None else _place(after)
    listed = asyncio.run(_list(database_url_from(config, database_url), wanted, limit, place))
    if json_:
        from dataclasses import asdict  # noqa: PLC0415

        print_json(
            {
                "deliveries": [asdict(delivery) for delivery in listed.deliveries],
                "next": None if listed.next is None else str(listed.next),
            }
        )
        return
    _print(listed, limit)


def _wanted(
    endpoint: str | None, states: list[_State], reservation: str | None, since: str | None, until: str | None
) -> DeliveryFilter:
    from cdc_bridge.deliveries.listing import DeliveryFilter  # noqa: PLC0415
    from cdc_bridge.model import DeliveryState, ReservationId  # noqa: PLC0415

    wanted = DeliveryFilter(
        endpoint,
        [DeliveryState(state) for state in states],
        None if reservation is None else ReservationId(reservation),
        instant(since, "--since"),
        instant(until, "--until"),
    )
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise typer.BadParameter("is not before --until", param_hint="--since")
    return wanted


def _place(text: str) -> Cursor:
    from cdc_bridge.deliveries.listing import Cursor  # noqa: PLC0415

    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--after") from None


async def _list(url: str, wanted: DeliveryFilter, limit: int, after: Cursor | None) -> DeliveryPage:
    from cdc_bridge.deliveries.listing import list_deliveries  # noqa: PLC0415
    from cdc_bridge.schema.session import command_session  # noqa: PLC0415

    async with command_session(url) as connection:
        return await list_deliveries(connection, wanted, limit, after)


def _print(listed: DeliveryPage, limit: int) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if listed.deliveries:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("number", "endpoint", "reservation", "change", "changed at", "state", "calls", "last answer"):
            table.add_column(column, overflow="fold", justify="right" if column in {"number", "calls"} else "left")
        for delivery in listed.deliveries:
            table.add_row(*(Text(cell) for cell in _cells(delivery)))
        console = Console()
        if not console.is_terminal:
            console.width = _WIDE
        console.print(table)
    else:
        typer.echo(f"No such delivery was found{'' if listed.next is None else ' so far'}.")
    if listed.next is not None:
        more = "There are more" if len(listed.deliveries) == limit else "Older ones were not looked at"
        typer.echo(f"{more}. To go on: --after {listed.next}", err=True)


def _cells(delivery: LoggedDelivery) -> list[Any]:
    answer = delivery.last_error or ("" if delivery.last_status is None else f"HTTP {delivery.last_status}")
    return [
        str(delivery.seq),
        delivery.endpoint,
        delivery.reservation_id,
        delivery.operation.value,
        f"{delivery.changed_at.astimezone():%Y-%m-%d %H:%M:%S %Z}",
        delivery.state_text,
        str(delivery.attempts),
        answer,
    ]
