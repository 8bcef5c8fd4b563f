"""``cdc-bridge status``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from cdc_bridge.checks.status import Status, read_status
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from
from cdc_bridge.cli.status_report import status_as_json, status_display
from cdc_bridge.console import print_json
from cdc_bridge.displays import redrawn, show
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
    if as_json:
        async for found in _refresh(url, every):
            print_json(status_as_json(found), indent=2 if every is None else None)
    elif every is None:
        async for found in _refresh(url, every):
            show(*status_display(found))
    else:
        with redrawn() as draw:
            async for found in _refresh(url, every):
                draw(status_display(found))


async def _refresh(url: str, every: float | None) -> AsyncIterator[Status]:
    async with command_session(url) as connection:
        yield await read_status(connection)
        while every is not None:
            await asyncio.sleep(every)
            yield await read_status(connection)
