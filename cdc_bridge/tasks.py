"""Running asyncio tasks side by side, ending them reliably, and waiting for events."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

_CANCEL_AGAIN_AFTER_SECONDS = 0.2


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended, and drop what they raise.

    Once is not enough: before Python 3.12 ``asyncio.wait_for``, which psycopg uses, drops a cancellation that arrives
    as its wait ends (https://github.com/python/cpython/issues/81839). The task would never end.
    """
    tasks = list(tasks)
    running = {task for task in tasks if not task.done()}
    cancelled: asyncio.CancelledError | None = None
    while running:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=_CANCEL_AGAIN_AFTER_SECONDS)
        except asyncio.CancelledError as error:  # Our own cancellation waits until these have ended.
            cancelled = error
        running = {task for task in running if not task.done()}
    for task in tasks:
        if not task.cancelled():
            task.exception()  # asyncio would log it as never retrieved.
    if cancelled is not None:
        raise cancelled


async def wait_for_event(event: asyncio.Event, seconds: float | None) -> None:
    """Wait until an event is set, but no longer than some seconds; ``None``: however long that takes."""
    if seconds is None:
        await event.wait()
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def run_together(*works: Coroutine[Any, Any, None]) -> None:
    """Run coroutines until the first one ends, and end the others; also when this is cancelled.

    Raises:
        Exception: What the first one raised.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(tasks)
    for task in done:
        task.result()
