"""``cdc-bridge status``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Annotated

import typer
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.checks.status import Status, read_status
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, settings_from
from cdc_bridge.cli.status_report import status_as_json, status_display
from cdc_bridge.console import print_json
from cdc_bridge.displays import redrawn, show
from cdc_bridge.schema.session import command_session
from cdc_bridge.tasks import run_together

_PAUSE_PER_SECOND_OF_READING = 4.0


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", min=0.2, help="With --watch: interval.")] = 1.0,
    all_: Annotated[
        bool, typer.Option("--all", help="Show every endpoint, however many there are; --json always has all.")
    ] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch one line per refresh.")] = False,
) -> None:
    """Show capture, wake-ups and the status of every endpoint.

    Of more than fifty endpoints, it shows how many have which status, and those in trouble.

    Requests in flight, rate and wake-ups are reported by the daemon's heartbeat, and are some seconds old.

    Example: cdc-bridge status --watch
    """
    settings = settings_from(config, database_url)
    read = partial(read_status, settings=settings, all_endpoints=all_ or json_)
    found = _refresh(settings.database_url.get_secret_value(), read, every if watch else None)
    asyncio.run(run_together(_show(found, watch=watch, as_json=json_)))


async def _show(refreshed: AsyncGenerator[Status], *, watch: bool, as_json: bool) -> None:
    async with aclosing(refreshed):  # Also if nobody reads the output any more.
        if as_json:
            async for found in refreshed:
                print_json(status_as_json(found), indent=None if watch else 2)
        elif watch:
            with redrawn() as draw:
                async for found in refreshed:
                    draw(status_display(found))
        else:
            async for found in refreshed:
                show(*status_display(found))


async def _refresh(
    url: str, read: Callable[[AsyncConnection[TupleRow]], Awaitable[Status]], every: float | None
) -> AsyncGenerator[Status]:
    async with command_session(url) as connection:
        while True:
            began = time.monotonic()
            found = await read(connection)
            took_seconds = time.monotonic() - began  # It may be work for the database.
            yield found
            if every is None:
                return
            await asyncio.sleep(max(every, _PAUSE_PER_SECOND_OF_READING * took_seconds))
