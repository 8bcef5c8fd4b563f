"""The daemon's event loop: uvloop's where it is installed, as it takes less time for the same, or asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_CLOSED = "the handler is closed"
"""How the error ends that uvloop raises; its transport does not say that it is closed (uvloop 0.23)."""

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
    """Log what nobody else can handle, but for what uvloop cannot send over a connection that was closed already.

    It processes even then what was received over TLS. If TLS has something to say to that, such as an alert, uvloop
    calls it fatal.
    """
    error = context.get("exception")
    of_tls = str(context.get("message")).startswith("Fatal error on SSL protocol")
    if of_tls and isinstance(error, RuntimeError) and str(error).endswith(_CLOSED):
        return
    loop.default_exception_handler(context)
