"""``cdc-bridge payload``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from


def payload(
    reservation_id: Annotated[str, typer.Argument(metavar="ID", help="The reservation's key.")],
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    pretty: Annotated[bool, typer.Option("--pretty", help="Indent it, for reading.")] = False,
) -> None:
    """Print what would be posted for a reservation now; nothing is sent.

    Example: cdc-bridge payload 43B39683AB734A038ADA1B27345E9C90 --pretty
    """
    url = database_url_from(config, database_url)
    from cdc_bridge.deliveries.payload_preview import indented, payload_of  # noqa: PLC0415

    body = asyncio.run(payload_of(url, reservation_id))
    typer.echo(indented(body) if pretty else body)
