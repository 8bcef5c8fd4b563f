"""``cdc-bridge mapping draft``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DbaDatabaseOption, dba_database_url_from
from cdc_bridge.console import print_document, print_line
from cdc_bridge.database import one_connection
from cdc_bridge.mapping.catalogue import Catalogue, read_catalogue, require_zone
from cdc_bridge.mapping.draft import Draft, Named, ZoneNeeded, draft
from cdc_bridge.mapping.draft_text import text_of
from cdc_bridge.mapping.named_tables import NONE


def mapping_draft(
    table: Annotated[
        str | None, typer.Option("--table", metavar="TABLE", help="Table of the reservations, if the guess is wrong.")
    ] = None,
    customer: Annotated[
        str | None,
        typer.Option("--customer", metavar="TABLE", help=f"Table of the customers, or {NONE}."),
    ] = None,
    call: Annotated[
        str | None, typer.Option("--call", metavar="TABLE", help=f"Table of the telephone calls, or {NONE}.")
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option("--time-zone", metavar="ZONE", help="Time zone of times without one, such as Europe/London."),
    ] = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Ask wherever several tables or columns are likely.")
    ] = False,
    config: ConfigOption = None,
    database_url: DbaDatabaseOption = None,
) -> None:
    """Draft a mapping from the tables of a database, and print it.

    It is a proposal: complete it, then check it. Only the catalogue is read: names, types, keys, comments; no row of a
    table. A key of the contract that nothing was found for gets its neutral value and a TODO.

    Example: cdc-bridge mapping draft --time-zone Europe/London > my-mapping.sql
    """
    url = dba_database_url_from(config, database_url)
    named = Named(table, customer, call)
    catalogue = asyncio.run(_read(url, time_zone))
    ask = _ask if interactive else None
    try:
        drafted = draft(catalogue, named, time_zone, ask)
    except ZoneNeeded as error:
        if not sys.stdin.isatty():
            raise
        print_line(f"{error.problem}.", err=True)
        time_zone = typer.prompt("Time zone, such as Europe/London", err=True)
        asyncio.run(_read(url, time_zone))
        drafted = draft(catalogue, named, time_zone, ask)
    print_document(text_of(drafted))
    for line in _summary(drafted):
        print_line(line, err=True)


async def _read(url: str, time_zone: str | None) -> Catalogue:
    async with one_connection(url) as connection:
        if time_zone is not None:
            await require_zone(connection, time_zone)
        return await read_catalogue(connection)


def _ask(question: str, choices: Sequence[str]) -> int | None:
    print_line(question, err=True)
    for number, choice in enumerate(choices, start=1):
        print_line(f"  {number}  {choice}", err=True)
    print_line(f"  0  {NONE}", err=True)
    while True:
        chosen: int = typer.prompt("Number", default=1, type=int, err=True)
        if 0 <= chosen <= len(choices):
            return chosen - 1 if chosen else None


def _summary(drafted: Draft) -> list[str]:
    """Return what was found, for the one who completes the draft."""
    missing = [line.key for line in drafted.lines if not line.found]
    doubtful = [line.key for line in drafted.lines if line.doubt]
    return [
        f"Reservations: {drafted.reservation}. Customers: {drafted.customer or NONE}. Calls: {drafted.call or NONE}.",
        *([f"Local times are taken to be in {drafted.zone}."] if drafted.zone else []),
        *(
            [f"{drafted.zone_of_restaurant} says the zone of each restaurant. Leave --time-zone out to take it."]
            if drafted.zone_of_restaurant
            else []
        ),
        *([f"Look at: {', '.join(doubtful)}."] if doubtful else []),
        *([f"No source was found for: {', '.join(missing)}."] if missing else []),
        "Complete the draft, then run: cdc-bridge mapping check FILE",
    ]
