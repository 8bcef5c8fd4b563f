"""``cdc-bridge install`` and ``cdc-bridge uninstall``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from


def install(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="SQL file with your own mapping, in place of the one for the schema of the announcement's example."
        ),
    ] = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the SQL and do nothing.")] = False,
) -> None:
    """Install or upgrade the SQL side in the e-Res database, as a DBA; safe to repeat.

    Example: cdc-bridge install --print | less;
    CDC_BRIDGE_DATABASE_URL=postgresql://postgres@localhost/eres cdc-bridge install
    """
    from cdc_bridge.operations import install as operation  # noqa: PLC0415

    if print_:
        typer.echo(operation.install_text(mapping), nl=False)
        return
    asyncio.run(operation.install(database_url_from(config, database_url), mapping, typer.echo))


def uninstall(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the SQL and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take the SQL side out of the e-Res database again, as a DBA; e-Res's own tables stay as they are.

    Example: CDC_BRIDGE_DATABASE_URL=postgresql://postgres@localhost/eres cdc-bridge uninstall
    """
    from cdc_bridge.operations import install as operation  # noqa: PLC0415

    if print_:
        typer.echo(operation.uninstall_text(), nl=False)
        return
    url = database_url_from(config, database_url)
    if not yes:
        typer.echo(asyncio.run(operation.what_uninstall_loses(url)))
        if not sys.stdin.isatty():
            typer.echo("Nothing was done. To go ahead: cdc-bridge uninstall --yes", err=True)
            raise typer.Exit(2)
        typer.confirm("Go ahead?", abort=True)
    asyncio.run(operation.uninstall(url, typer.echo))
