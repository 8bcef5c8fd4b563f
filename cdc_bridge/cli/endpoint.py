"""``cdc-bridge endpoint``: who receives the deliveries, and how."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from cdc_bridge.audit.actor import of_command
from cdc_bridge.cli import endpoint_definition, endpoint_manifest, endpoint_portal
from cdc_bridge.cli.endpoint_options import NameArgument
from cdc_bridge.cli.endpoint_report import print_endpoint, print_table
from cdc_bridge.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    database_url_from,
    settings_from,
)
from cdc_bridge.console import print_json, print_line
from cdc_bridge.deliveries.test_request import send_test_request
from cdc_bridge.displays import print_wrapped
from cdc_bridge.endpoints import admin
from cdc_bridge.endpoints.details import find_endpoints, show_endpoint
from cdc_bridge.endpoints.endpoint_json import endpoint_as_json, overview_as_json
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.endpoints.survey import Search

app = typer.Typer(
    name="endpoint",
    help="Add, show, change and remove endpoints. A running daemon applies each change within a second.",
    no_args_is_help=True,
)


app.command()(endpoint_definition.add)


class Order(StrEnum):
    """Which endpoints come first."""

    NAME = "name"
    TROUBLE = "trouble"


_MOST_LISTED = 100


@app.command("list")
def list_(
    search: Annotated[
        str, typer.Option("--search", metavar="TEXT", help="Part of the name, of the URL or of the conditions.")
    ] = "",
    status: Annotated[
        list[EndpointStatus] | None, typer.Option("--status", help="Only those with this status. May be repeated.")
    ] = None,
    order: Annotated[
        Order, typer.Option("--order", help="By name, or those in trouble first, the most behind before others.")
    ] = Order.NAME,
    all_: Annotated[bool, typer.Option("--all", help=f"List more than {_MOST_LISTED}; --json lists all.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """List the endpoints with their status.

    Example: cdc-bridge endpoint list --status failing --status disabled
    """
    settings = settings_from(config, database_url)
    wanted = Search(search, status or (), by_name=order is Order.NAME, limit=None if all_ or json_ else _MOST_LISTED)
    found = asyncio.run(find_endpoints(settings.database_url.get_secret_value(), settings.max_lag_seconds, wanted))
    if json_:
        print_json([overview_as_json(endpoint) for endpoint in found.page])
    elif found.page:
        print_table(found.page)
        if more := found.matching - len(found.page):
            print_line(f"{more:,} more. To narrow: --search TEXT, --status STATUS. To list all: --all", err=True)
    elif found.number:
        print_line("No endpoint matches.")
    else:
        print_line("There is no endpoint. To add one: cdc-bridge endpoint add NAME URL")


@app.command()
def show(
    name: NameArgument, config: ConfigOption = None, database_url: DatabaseOption = None, json_: JsonOption = False
) -> None:
    """Show everything of an endpoint but its secrets: options, status and figures.

    Example: cdc-bridge endpoint show till
    """
    shown = asyncio.run(show_endpoint(database_url_from(config, database_url), name))
    if json_:
        print_json(endpoint_as_json(shown))
    else:
        print_endpoint(shown)


app.command("set")(endpoint_definition.set_)


@app.command()
def pause(name: NameArgument, config: ConfigOption = None, database_url: DatabaseOption = None) -> None:
    """Stop deliveries to an endpoint; what is committed meanwhile is sent when it is resumed.

    Example: cdc-bridge endpoint pause till
    """
    if asyncio.run(admin.pause_endpoint(database_url_from(config, database_url), name, by=of_command())):
        print_line(f"Endpoint {name} is paused. To go on: cdc-bridge endpoint resume {name}")
    else:
        print_line(f"Endpoint {name} was paused already.")


@app.command()
def resume(name: NameArgument, config: ConfigOption = None, database_url: DatabaseOption = None) -> None:
    """Deliver again to an endpoint that was paused, or disabled by its response 410.

    While it is failing, or asked for a pause by Retry-After, the next probe is sent at once.

    Example: cdc-bridge endpoint resume till
    """
    if asyncio.run(admin.resume_endpoint(database_url_from(config, database_url), name, by=of_command())):
        print_line(f"Endpoint {name} is resumed: what was held back is sent.")
    else:
        print_line(f"Endpoint {name} was neither paused nor disabled. If it is failing, a probe is sent now.")


@app.command()
def remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Remove an endpoint. What is not delivered to it yet is lost.

    Example: cdc-bridge endpoint remove till --yes
    """
    url = database_url_from(config, database_url)
    lost = asyncio.run(admin.undelivered_of(url, name))
    print_line(
        f"Queued or retrying deliveries to {name}: {lost.pending}. Changes not sent to it yet: {lost.backlog}. "
        "All of them are lost."
    )
    if not yes:
        if not sys.stdin.isatty():
            print_line(f"Nothing was done. To go ahead: cdc-bridge endpoint remove {name} --yes", err=True)
            raise typer.Exit(2)
        typer.confirm("Go ahead?", abort=True)
    asyncio.run(admin.remove_endpoint(url, name, by=of_command()))
    print_line(f"Endpoint {name} is removed. Its deliveries stay in the delivery log until they are pruned.")


app.command("rotate-secret")(endpoint_definition.rotate_secret)
app.command("encrypt-secrets")(endpoint_definition.encrypt_secrets)


app.command()(endpoint_manifest.apply)
app.command()(endpoint_manifest.export)


app.command()(endpoint_portal.portal)


@app.command("test")
def send_test(
    name: NameArgument,
    sample: Annotated[
        bool, typer.Option("--sample", help="Post the contract's example instead, which some take for a booking.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --sample: do not ask.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Send a test request to an endpoint, as the daemon would, and say what the response means.

    It is signed and has the endpoint's headers; its ce-type is cdc-bridge.test and its body no reservation. Nothing
    of the database is sent. An endpoint of the settings is tested as those of this command declare it. Exit code 0: the
    response was 2xx.

    With --sample the body is the contract's example, to see whether it is understood. An endpoint that does not look at
    ce-type will take it for a booking of a Mr Murt in 2021, so it asks first.

    Example: cdc-bridge endpoint test till
    """
    settings = settings_from(config, database_url)
    if sample and not yes:
        _ask_for_sample(name)
    result = asyncio.run(send_test_request(settings, name, by=of_command(), sample=sample))
    if json_:
        print_json(asdict(result))
    else:
        response = f"HTTP {result.status}" if result.delivered else result.reason
        sent = f"{result.name}, {result.url}, {result.route}"
        print_wrapped(f"{sent}: {response}, after {result.milliseconds} ms. {result.meaning}")
    raise typer.Exit(0 if result.delivered else 1)


def _ask_for_sample(name: str) -> None:
    print_line(
        f"This posts the contract's example to {name}: a Mr Murt, a table for two, in 2021. An endpoint that does not "
        "look at ce-type, which is cdc-bridge.test, takes it for a booking, which somebody then has to remove there.",
        err=True,
    )
    if not sys.stdin.isatty():
        print_line(f"Nothing was sent. To go ahead: cdc-bridge endpoint test {name} --sample --yes", err=True)
        raise typer.Exit(2)
    typer.confirm("Go ahead?", abort=True, err=True)
