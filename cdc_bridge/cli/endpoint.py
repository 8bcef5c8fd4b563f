"""``cdc-bridge endpoint``: who is called, and how."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from cdc_bridge.cli import endpoint_definition
from cdc_bridge.cli.endpoint_options import NameArgument
from cdc_bridge.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    database_url_from,
    print_json,
    settings_from,
)

app = typer.Typer(
    name="endpoint",
    help="Add, show, change and remove endpoints. A running daemon takes each change up within a second.",
    no_args_is_help=True,
)


app.command()(endpoint_definition.add)


@app.command("list")
def list_(config: ConfigOption = None, database_url: DatabaseOption = None, json_: JsonOption = False) -> None:
    """List the endpoints, and how they are.

    Example: cdc-bridge endpoint list --json
    """
    url = database_url_from(config, database_url)
    from cdc_bridge.cli.endpoint_report import overview_as_json, print_table  # noqa: PLC0415
    from cdc_bridge.endpoints.details import all_endpoints  # noqa: PLC0415

    endpoints = asyncio.run(all_endpoints(url))
    if json_:
        print_json([overview_as_json(facts) for facts in endpoints])
    elif endpoints:
        print_table(endpoints)
    else:
        typer.echo("There is no endpoint. Make one: cdc-bridge endpoint add NAME URL")


@app.command()
def show(
    name: NameArgument, config: ConfigOption = None, database_url: DatabaseOption = None, json_: JsonOption = False
) -> None:
    """Show all of an endpoint but its secrets: options, state and figures.

    Example: cdc-bridge endpoint show till
    """
    url = database_url_from(config, database_url)
    from cdc_bridge.cli.endpoint_report import endpoint_as_json, print_endpoint  # noqa: PLC0415
    from cdc_bridge.endpoints.details import show_endpoint  # noqa: PLC0415

    shown = asyncio.run(show_endpoint(url, name))
    if json_:
        print_json(endpoint_as_json(shown))
    else:
        print_endpoint(shown)


app.command("set")(endpoint_definition.set_)


@app.command()
def pause(name: NameArgument, config: ConfigOption = None, database_url: DatabaseOption = None) -> None:
    """Stop the calls to an endpoint; what is committed meanwhile is sent when it is resumed.

    Example: cdc-bridge endpoint pause till
    """
    url = database_url_from(config, database_url)
    from cdc_bridge.endpoints import admin as maintenance  # noqa: PLC0415

    if asyncio.run(maintenance.pause_endpoint(url, name)):
        typer.echo(f"Endpoint {name} is paused. To go on: cdc-bridge endpoint resume {name}")
    else:
        typer.echo(f"Endpoint {name} was paused already.")


@app.command()
def resume(name: NameArgument, config: ConfigOption = None, database_url: DatabaseOption = None) -> None:
    """Call an endpoint again that was paused, or that wanted no more calls (410).

    Example: cdc-bridge endpoint resume till
    """
    url = database_url_from(config, database_url)
    from cdc_bridge.endpoints import admin as maintenance  # noqa: PLC0415

    if asyncio.run(maintenance.resume_endpoint(url, name)):
        typer.echo(f"Endpoint {name} is resumed: what was held back is sent.")
    else:
        typer.echo(f"Endpoint {name} was neither paused nor disabled.")


@app.command()
def remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Remove an endpoint, with what it was still to get.

    Example: cdc-bridge endpoint remove till --yes
    """
    url = database_url_from(config, database_url)
    from cdc_bridge.endpoints import admin as maintenance  # noqa: PLC0415

    lost = asyncio.run(maintenance.what_removing_loses(url, name))
    typer.echo(
        f"Deliveries to {name} that wait: {lost.waiting}. Changes that are not sent to it yet: {lost.backlog}. "
        "All of them are lost."
    )
    if not yes:
        if not sys.stdin.isatty():
            typer.echo(f"Nothing was done. To go ahead: cdc-bridge endpoint remove {name} --yes", err=True)
            raise typer.Exit(2)
        typer.confirm("Go ahead?", abort=True)
    asyncio.run(maintenance.remove_endpoint(url, name))
    typer.echo(f"Endpoint {name} is removed. What the ledger has of it stays there until it is pruned.")


app.command("rotate-secret")(endpoint_definition.rotate_secret)


@app.command()
def ping(
    name: NameArgument,
    sample: Annotated[
        bool, typer.Option("--sample", help="Post the contract's example instead, which some take for a booking.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --sample: do not ask.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Make a test call to an endpoint, as the daemon would, and say what the answer means.

    It is signed and has the endpoint's headers; its ce-type is cdc-bridge.test and its body no reservation. Nothing
    of the database is sent. An endpoint of the settings is called by those of this command. Exit code 0: a 2xx came.

    With --sample the body is the contract's example, to see whether it is understood. An endpoint that does not look at
    ce-type will take it for a booking of a Mr Murt in 2021, so it asks first.

    Example: cdc-bridge endpoint ping till
    """
    settings = settings_from(config, database_url)
    if sample and not yes:
        _ask_for_sample(name)
    from dataclasses import asdict  # noqa: PLC0415

    from cdc_bridge.endpoints.test_request import send_test_request  # noqa: PLC0415

    pong = asyncio.run(send_test_request(settings, name, sample=sample))
    if json_:
        print_json(asdict(pong))
    else:
        answer = f"HTTP {pong.status}" if pong.accepted else pong.reason
        typer.echo(f"{pong.name}, {pong.url}: {answer}, after {pong.milliseconds} ms. {pong.meaning}")
    raise typer.Exit(0 if pong.accepted else 1)


def _ask_for_sample(name: str) -> None:
    typer.echo(
        f"This posts the contract's example to {name}: a Mr Murt, a table for two, in 2021. An endpoint that does not "
        "look at ce-type, which is cdc-bridge.test, takes it for a booking, which somebody then has to remove there.",
        err=True,
    )
    if not sys.stdin.isatty():
        typer.echo(f"Nothing was sent. To go ahead: cdc-bridge endpoint ping {name} --sample --yes", err=True)
        raise typer.Exit(2)
    typer.confirm("Go ahead?", abort=True, err=True)
