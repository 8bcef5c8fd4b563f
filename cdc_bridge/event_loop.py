"""The daemon's event loop: uvloop's where it is installed, as it takes less time for the same, or asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop

with suppress(ImportError):  # There is no package of it for this platform.
    import uvloop

    _make = uvloop.new_event_loop


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new one."""
    loop = _make()
    loop.set_exception_handler(_report)
    return loop


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody else can handle, unless a connection is at fault that was closed already.

    uvloop processes what was received over TLS even then. If TLS has something to say to it, such as an alert, uvloop
    cannot send that any more, and calls it fatal.
    """
    transport = context.get("transport")
    if isinstance(context.get("exception"), RuntimeError) and transport is not None and transport.is_closing():
        return
    loop.default_exception_handler(context)
