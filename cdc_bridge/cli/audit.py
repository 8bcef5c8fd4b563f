"""``cdc-bridge audit``."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from cdc_bridge.audit.log import AuditPage, Cursor, Entry, entries
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, database_url_from
from cdc_bridge.cli.times import ACCEPTED, time_option
from cdc_bridge.console import print_json, print_line
from cdc_bridge.displays import Columns, show, table
from cdc_bridge.schema.session import command_session

_COLUMNS: Columns = {
    "at": "left",
    "who": "left",
    "via": "left",
    "action": "left",
    "endpoint": "left",
    "details": "left",
}


def audit(
    since: Annotated[
        datetime | None, time_option("--since", f"What was done at this time or later: {ACCEPTED}")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Number of entries to list.")] = 100,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Continue a list: the cursor that it printed at its end.")
    ] = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Show who changed what, newest first.

    On the dashboard, through the HTTP API, in the portal or by a command: of that, who is the user of the machine, with
    the role of the database. Entries are kept for a year.

    Example: cdc-bridge audit --since 2026-07-01
    """
    cursor = None if after is None else _cursor(after)
    page = asyncio.run(_read(database_url_from(config, database_url), limit, since, cursor))
    following = None if page.next is None else str(page.next)
    if json_:
        print_json({"entries": [asdict(entry) for entry in page.entries], "next": following})
        return
    if page.entries:
        show(table(_COLUMNS, (_cells(entry) for entry in page.entries)))
    else:
        print_line("The audit log has no entry.")
    if following is not None:
        print_line(f"There are more. To continue: --after {following}", err=True)


def _cursor(text: str) -> Cursor:
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--after") from None


async def _read(url: str, limit: int, since: datetime | None, after: Cursor | None) -> AuditPage:
    async with command_session(url) as connection:
        return await entries(connection, limit, since=since, after=after)


def _cells(entry: Entry) -> list[str]:
    return [
        f"{entry.at.astimezone():%Y-%m-%d %H:%M:%S %Z}",
        entry.told_who,
        entry.via,
        entry.action,
        entry.endpoint or "",
        entry.told_details,
    ]
