"""``cdc-bridge delivery``."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from

if TYPE_CHECKING:
    from cdc_bridge.deliveries.lookup import DeliveryId

app = typer.Typer(name="delivery", help="One delivery: show it, try it again.", no_args_is_help=True)

_EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="NAME", help="Whose delivery; needed where several endpoints have it."),
]
_ID = "The change's number, or a webhook-id."


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help=_ID)],
    endpoint: _EndpointOption = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the ledger has of a delivery: how often it was called, what the answer was, what comes next.

    Example: cdc-bridge delivery show 4711
    """
    wanted = _delivery_id(id_)
    url = database_url_from(config, database_url)
    from cdc_bridge.deliveries.show import as_json, as_rows, delivery_of  # noqa: PLC0415

    delivery = asyncio.run(delivery_of(url, wanted, endpoint))
    if json_:
        typer.echo(json.dumps(as_json(delivery), indent=2))
        return
    for name, words in as_rows(delivery, wanted):
        typer.echo(f"{name:<13}{words}")


@app.command()
def retry(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help=_ID)],
    endpoint: _EndpointOption = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Try deliveries again at once, that wait for their next attempt, were given up or found no reservation.

    Example: cdc-bridge delivery retry 4711 4713
    """
    wanted = [_delivery_id(text) for text in ids]
    url = database_url_from(config, database_url)
    if not asyncio.run(_retry_each(url, wanted, endpoint)):
        raise typer.Exit(1)


async def _retry_each(url: str, wanted: list[DeliveryId], endpoint: str | None) -> bool:
    from cdc_bridge.checks.preflight import require_ready  # noqa: PLC0415
    from cdc_bridge.database import one_connection  # noqa: PLC0415
    from cdc_bridge.deliveries.retry import retry as retry_one  # noqa: PLC0415
    from cdc_bridge.errors import BridgeError, WrongUsage  # noqa: PLC0415

    all_done = True
    async with one_connection(url) as connection:
        await require_ready(connection)
        for delivery_id in wanted:
            try:
                typer.echo(await retry_one(connection, delivery_id, endpoint))
            except WrongUsage:
                raise
            except BridgeError as error:
                typer.echo(". ".join(str(error).splitlines()), err=True)
                all_done = False
    return all_done


def _delivery_id(text: str) -> DeliveryId:
    from cdc_bridge.deliveries.lookup import DeliveryId  # noqa: PLC0415

    try:
        return DeliveryId.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} {error}", param_hint="ID") from None
