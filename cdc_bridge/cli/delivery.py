"""``cdc-bridge delivery``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cdc_bridge.audit.actor import of_command
from cdc_bridge.checks.preflight import require_ready
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, database_url_from
from cdc_bridge.console import print_json, print_line, print_lines
from cdc_bridge.database import one_connection
from cdc_bridge.deliveries import retry as retries
from cdc_bridge.deliveries.lookup import DeliveryId
from cdc_bridge.deliveries.sessions import CommandSessions
from cdc_bridge.deliveries.show import as_rows, delivery_of, details_as_json
from cdc_bridge.deliveries.timeline import timeline_rows
from cdc_bridge.displays import Columns, table
from cdc_bridge.displays import show as display
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.model import DeliveryState

app = typer.Typer(name="delivery", help="Show or retry single deliveries.", no_args_is_help=True)

_EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="NAME", help="The endpoint; needed if several have the delivery."),
]
_TIMELINE: Columns = {
    "attempt": "right",
    "time (UTC)": "left",
    "duration": "right",
    "result": "left",
    "address": "left",
}
_ID = "Number of the change, or webhook-id."


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help=_ID)],
    endpoint: _EndpointOption = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
    responses: Annotated[
        bool, typer.Option("--responses", help="Show the responses that are kept; they may have guests' data in them.")
    ] = False,
) -> None:
    """Show a delivery: its state, each attempt and the next one.

    Example: cdc-bridge delivery show 4711
    """
    wanted = _delivery_id(id_)
    url = database_url_from(config, database_url)

    delivery, timeline = asyncio.run(delivery_of(CommandSessions(url), wanted, endpoint, with_responses=responses))
    if json_:
        print_json(details_as_json(delivery, timeline))
        return
    for name, words in as_rows(delivery, wanted):
        print_line(f"{name:<13}{words}")
    if delivery.state is DeliveryState.DEAD:
        print_line(f"{'to retry':<13}cdc-bridge delivery retry {delivery.seq}")
    if timeline:
        print_line()
        display(table(_TIMELINE, timeline_rows(timeline)))
    for attempt in timeline:
        if attempt.response is not None:
            print_line()
            print_line(f"response to attempt {attempt.number}:")
            print_lines(attempt.response or "(empty)")


@app.command()
def retry(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help=_ID)],
    endpoint: _EndpointOption = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Send retrying, dead or skipped deliveries again now.

    Example: cdc-bridge delivery retry 4711 4713
    """
    wanted = [_delivery_id(text) for text in ids]
    url = database_url_from(config, database_url)
    if not asyncio.run(_retry_each(url, wanted, endpoint)):
        raise typer.Exit(1)


async def _retry_each(url: str, wanted: list[DeliveryId], endpoint: str | None) -> bool:
    all_done = True
    async with one_connection(url) as connection:
        await require_ready(connection)
        for delivery_id in wanted:
            try:
                print_line(str(await retries.retry(connection, delivery_id, endpoint, by=of_command())))
            except WrongUsage:
                raise
            except BridgeError as error:
                print_line(". ".join(error.lines), err=True)
                all_done = False
    return all_done


def _delivery_id(text: str) -> DeliveryId:
    try:
        return DeliveryId.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} {error}", param_hint="ID") from None
