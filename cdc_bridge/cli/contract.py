"""``cdc-bridge contract``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DbaDatabaseOption, dba_database_url_from
from cdc_bridge.console import print_document, print_line
from cdc_bridge.endpoints.subscription_input import known_payload
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.own_files import refuse_link
from cdc_bridge.payload.definition import PayloadDefinition
from cdc_bridge.schema.session import command_session
from cdc_bridge.vendor import contract
from cdc_bridge.vendor.contract import EXAMPLES, RECEIVERS, SCHEMA_FILE, text_of
from cdc_bridge.vendor.payload_schema import schema_of_payload
from cdc_bridge.web.api.routes import openapi as api_document

app = typer.Typer(
    name="contract",
    help="Print what EPOS vendors and programs that use the HTTP API build against. Needs no settings, but for schema "
    "--payload.",
    no_args_is_help=True,
)


@app.command()
def schema(
    payload: Annotated[
        str | None,
        typer.Option("--payload", metavar="NAME", help="Of this payload, as the database defines it."),
    ] = None,
    config: ConfigOption = None,
    database_url: DbaDatabaseOption = None,
) -> None:
    """Print the JSON Schema (2020-12) of a request body.

    With --payload it is derived from the columns and types of that payload, and needs the database: for a vendor who
    agreed on other bodies than those of the contract.

    Example: cdc-bridge contract schema > reservation.schema.json
    """
    if payload is None:
        _print(SCHEMA_FILE)
    else:
        definition = asyncio.run(_definition(dba_database_url_from(config, database_url), payload))
        print_document(json.dumps(schema_of_payload(definition), indent=2, ensure_ascii=False) + "\n")


async def _definition(database_url: str, payload: str) -> PayloadDefinition:
    async with command_session(database_url) as connection:
        return await known_payload(connection, payload)


@app.command()
def openapi() -> None:
    """Print the OpenAPI 3.1 document: bodies, headers, and the effect of each response.

    Example: cdc-bridge contract openapi > reservations.openapi.json
    """
    print_document(json.dumps(contract.openapi(), indent=2, ensure_ascii=False) + "\n")


@app.command()
def api() -> None:
    """Print the OpenAPI 3.1 document of the daemon's HTTP API.

    Example: cdc-bridge contract api > cdc-bridge.openapi.json
    """
    print_document(json.dumps(api_document(), indent=2, ensure_ascii=False) + "\n")


@app.command()
def example(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Name of the example.")] = "announcement",
    list_: Annotated[bool, typer.Option("--list", help="List the names.")] = False,
) -> None:
    """Print an example body; without NAME, that of the announcement.

    Example: cdc-bridge contract example walk-in
    """
    if list_:
        print_document("".join(f"{each}\n" for each in EXAMPLES))
    elif name in EXAMPLES:
        _print(EXAMPLES[name])
    else:
        raise WrongUsage(f"there is no example {name}", f"Choose one of: {', '.join(EXAMPLES)}.")


@app.command()
def vector() -> None:
    """Print signed requests, valid and invalid, to test signature verification with.

    Example: cdc-bridge contract vector > vector.json
    """
    _print("signature-vector.json")


@app.command()
def receiver(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"Language: {', '.join(RECEIVERS)}.", show_default=False)],
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="DIR", help="Write it into this folder, with its list of dependencies if any."),
    ] = None,
) -> None:
    """Print an example receiver: it verifies, stores, responds, and works afterwards.

    The comment at its top says how to start it.

    Example: cdc-bridge contract receiver python --save receiver
    """
    if name not in RECEIVERS:
        raise WrongUsage(f"there is no receiver {name}", f"Choose one of: {', '.join(RECEIVERS)}.")
    if save is None:
        _print(RECEIVERS[name][0])
    else:
        _write(RECEIVERS[name], save)


def _write(files: Sequence[str], folder: Path) -> None:
    for file in files:
        copy = folder / Path(file).name
        try:
            refuse_link(folder)
            folder.mkdir(parents=True, exist_ok=True)
            with copy.open("x", encoding="utf-8") as written:
                written.write(text_of(file))
        except FileExistsError:
            raise BridgeError(f"{copy} exists already, and was not overwritten", "Choose another folder.") from None
        except OSError as error:
            raise BridgeError(f"{copy} cannot be written: {error.strerror}") from None
        print_line(str(copy))


def _print(file: str) -> None:
    print_document(text_of(file))
