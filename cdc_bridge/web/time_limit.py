"""A time limit that also ends a cancelled statement that waits for a lost network."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from cdc_bridge.tasks import end

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Await some work, within a time limit; return its result.

    Raises:
        TimeoutError: It took longer and was ended.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        await end([task])
