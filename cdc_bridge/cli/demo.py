"""``cdc-bridge demo``."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from cdc_bridge.demo.scenario import run_demo


def demo(
    stay: Annotated[
        bool | None,
        typer.Option("--stay/--once", help="Keep running afterwards, or end. Default: keep running if on a terminal."),
    ] = None,
) -> None:
    """Run the whole bridge on this machine and count what arrives.

    Starts PostgreSQL, the example e-Res, a receiver and the daemon; makes bookings; kills the daemon in between. Leaves
    nothing behind.

    Example: cdc-bridge demo --once
    """
    # A shell has its background jobs ignore Ctrl-C; the demo ends every way through it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise typer.Exit(asyncio.run(run_demo(stay=stay)))
