"""``cdc-bridge status``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from, json_line, print_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cdc_bridge.checks.status import Status


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", min=0.2, help="With --watch: how often.")] = 1.0,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch a line each time.")] = False,
) -> None:
    """Show how everything is: capture, the doorbell, and of each endpoint state, lag, backlog, rate and last calls.

    What a daemon alone knows (calls in flight, rate, the doorbell) is as old as its last sign of life, some seconds.

    Example: cdc-bridge status --watch
    """
    url = database_url_from(config, database_url)
    from cdc_bridge.tasks import run_together  # noqa: PLC0415

    asyncio.run(run_together(_show(url, every if watch else None, as_json=json_)))


async def _show(url: str, every: float | None, *, as_json: bool) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from cdc_bridge.cli.status_report import status_as_json, status_table  # noqa: PLC0415

    console = Console(highlight=False)
    if as_json:
        async for found in _looks(url, every):
            if every is None:
                print_json(status_as_json(found))
            else:
                typer.echo(json_line(status_as_json(found)))
                sys.stdout.flush()
    elif every is not None and console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=False) as live:
            async for found in _looks(url, every):
                live.update(status_table(found), refresh=True)
    else:
        console = console if console.is_terminal else Console(highlight=False, width=300)
        async for found in _looks(url, every):
            console.print(status_table(found))


async def _looks(url: str, every: float | None) -> AsyncIterator[Status]:
    from cdc_bridge.checks.status import read_status  # noqa: PLC0415
    from cdc_bridge.schema.session import command_session  # noqa: PLC0415

    async with command_session(url) as connection:
        yield await read_status(connection)
        while every is not None:
            await asyncio.sleep(every)
            yield await read_status(connection)
