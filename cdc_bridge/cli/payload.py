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
    from cdc_bridge.operations.show_payload import payload_of  # noqa: PLC0415

    body = asyncio.run(payload_of(url, reservation_id))
    typer.echo(_indented(body) if pretty else body)


def _indented(body: bytes) -> bytes:
    import json  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    # Numbers pass as the text they are: a float would round them.
    exact = json.loads(body, parse_float=orjson.Fragment, parse_int=orjson.Fragment)
    return orjson.dumps(exact, option=orjson.OPT_INDENT_2)
