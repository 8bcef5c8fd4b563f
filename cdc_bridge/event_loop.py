"""The daemon's event loop: uvloop's where it is installed, as it takes less time for the same, or asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
"""Makes it."""

with suppress(ImportError):  # There is no package of it for this platform.
    import uvloop

    new_event_loop = uvloop.new_event_loop
