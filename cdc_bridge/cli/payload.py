"""``cdc-bridge payload``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DbaDatabaseOption, dba_database_url_from, reservation_key
from cdc_bridge.console import print_line, print_lines
from cdc_bridge.deliveries.payload_preview import indented, payload_of


def payload(
    reservation_id: Annotated[str, typer.Argument(metavar="ID", parser=reservation_key, help="Id of the reservation.")],
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="NAME", help="As this endpoint would get it.")
    ] = None,
    config: ConfigOption = None,
    database_url: DbaDatabaseOption = None,
    pretty: Annotated[bool, typer.Option("--pretty", help="Indent the JSON.")] = False,
) -> None:
    """Print the request body of a reservation as it is now.

    Nothing is sent. With --endpoint it is what that endpoint would get. Names on standard error what violates the JSON
    Schema that the vendor agreed on. Exit code 1: there is no such reservation, or the endpoint does not get it.

    Example: cdc-bridge payload 43B39683AB734A038ADA1B27345E9C90 --pretty
    """
    url = dba_database_url_from(config, database_url)
    current = asyncio.run(payload_of(url, reservation_id, endpoint))
    print_lines((indented(current.body) if pretty else current.body).decode())
    if current.faults:
        print_line(f"The body is not as {current.schema_name} has it:", err=True)
    for fault in current.faults:
        print_line(f"  {fault}", err=True)
