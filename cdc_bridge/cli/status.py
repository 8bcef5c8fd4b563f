"""``cdc-bridge status``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Annotated

import typer
from rich.live import Live

from cdc_bridge.checks.status import Status, read_status
from cdc_bridge.cli.console import table_console
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from, json_line, print_json
from cdc_bridge.cli.status_report import status_as_json, status_table
from cdc_bridge.schema.session import command_session
from cdc_bridge.tasks import run_together


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", min=0.2, help="With --watch: interval.")] = 1.0,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch one line per refresh.")] = False,
) -> None:
    """Show capture, wake-ups and the status of every endpoint.

    Requests in flight, rate and wake-ups are reported by the daemon's heartbeat, and are some seconds old.

    Example: cdc-bridge status --watch
    """
    url = database_url_from(config, database_url)
    asyncio.run(run_together(_show(url, every if watch else None, as_json=json_)))


async def _show(url: str, every: float | None, *, as_json: bool) -> None:
    console = table_console()
    if as_json:
        async for found in _refresh(url, every):
            if every is None:
                print_json(status_as_json(found))
            else:
                typer.echo(json_line(status_as_json(found)))
                sys.stdout.flush()
    elif every is not None and console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=False) as live:
            async for found in _refresh(url, every):
                live.update(status_table(found), refresh=True)
    else:
        async for found in _refresh(url, every):
            console.print(status_table(found))


async def _refresh(url: str, every: float | None) -> AsyncIterator[Status]:
    async with command_session(url) as connection:
        yield await read_status(connection)
        while every is not None:
            await asyncio.sleep(every)
            yield await read_status(connection)
