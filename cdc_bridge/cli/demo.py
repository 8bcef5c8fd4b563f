"""``cdc-bridge demo``."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer


def demo(
    stay: Annotated[
        bool | None,
        typer.Option(
            "--stay/--once", help="Stay up afterwards for trials of your own, or end. Default: stay on a terminal."
        ),
    ] = None,
) -> None:
    """Show the whole bridge at work on this machine, break it, and count: nothing is left behind.

    Example: cdc-bridge demo --once
    """
    from cdc_bridge.errors import BridgeError  # noqa: PLC0415

    try:
        from cdc_bridge.demo.story import run_demo  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BridgeError(
            f"the demo needs packages that are not installed ({error.name})",
            "Install them: pip install 'cdc-bridge[demo]'",
        ) from error
    # A shell has what it starts in the background ignore Ctrl-C; here every other end goes through it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise typer.Exit(asyncio.run(run_demo(stay=stay)))
