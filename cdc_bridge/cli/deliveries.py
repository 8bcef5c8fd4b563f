"""``cdc-bridge deliveries``."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from cdc_bridge.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    database_url_from,
    reservation_key,
)
from cdc_bridge.cli.times import ACCEPTED, time_option
from cdc_bridge.console import print_json, print_line
from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter, DeliveryPage, list_deliveries
from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.sessions import CommandSessions
from cdc_bridge.displays import Columns, show, table
from cdc_bridge.errors import shortened
from cdc_bridge.model import DeliveryState, ReservationId

_COLUMNS: Columns = {
    "number": "right",
    "endpoint": "left",
    "reservation": "left",
    "change": "left",
    "changed at": "left",
    "state": "left",
    "attempts": "right",
    "last response": "left",
}

_BELOW = ("last response", "changed at", "change", "attempts", "endpoint", "reservation")
"""What stands below its row first where there is no room."""


def deliveries(
    endpoint: Annotated[str | None, typer.Option("--endpoint", metavar="NAME", help="Only of this endpoint.")] = None,
    state: Annotated[list[DeliveryState] | None, typer.Option(help="Only in this state. May be repeated.")] = None,
    reservation: Annotated[
        str | None, typer.Option(metavar="ID", parser=reservation_key, help="Only of this reservation.")
    ] = None,
    since: Annotated[datetime | None, time_option("--since", f"Changes made at this time or later: {ACCEPTED}")] = None,
    until: Annotated[datetime | None, time_option("--until", "And before this time, given as for --since.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Number of deliveries to list.")] = 50,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Continue a list: the cursor that it printed at its end.")
    ] = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """List deliveries, newest change first.

    Example: cdc-bridge deliveries --state dead --endpoint till
    """
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("must be before --until", param_hint="--since")
    wanted = DeliveryFilter(
        endpoint, state or [], None if reservation is None else ReservationId(reservation), since, until
    )
    cursor = None if after is None else _cursor(after)
    listed = asyncio.run(_list(database_url_from(config, database_url), wanted, limit, cursor))
    if json_:
        print_json(
            {
                "deliveries": [asdict(delivery) for delivery in listed.deliveries],
                "next": None if listed.next is None else str(listed.next),
            }
        )
    else:
        _print(listed, limit)


def _cursor(text: str) -> Cursor:
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--after") from None


async def _list(url: str, wanted: DeliveryFilter, limit: int, after: Cursor | None) -> DeliveryPage:
    return await list_deliveries(CommandSessions(url), wanted, limit, after)


def _print(listed: DeliveryPage, limit: int) -> None:
    if listed.deliveries:
        show(table(_COLUMNS, (_cells(delivery) for delivery in listed.deliveries), _BELOW))
    else:
        print_line(f"No matching delivery{'' if listed.next is None else ' so far'}.")
    if listed.next is not None:
        more = "There are more" if len(listed.deliveries) == limit else "Older deliveries were not searched"
        print_line(f"{more}. To continue: --after {listed.next}", err=True)


def _cells(delivery: LoggedDelivery) -> list[str]:
    response = delivery.last_error or ("" if delivery.last_status is None else f"HTTP {delivery.last_status}")
    return [
        str(delivery.seq),
        delivery.endpoint,
        shortened(delivery.reservation_id),
        delivery.operation.value,
        f"{delivery.changed_at.astimezone():%Y-%m-%d %H:%M:%S %Z}",
        delivery.state_text,
        str(delivery.attempts),
        response,
    ]
