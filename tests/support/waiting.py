"""Waiting for something to become true."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

PATIENCE_SECONDS = 90.0
"""How long anything is waited for that a loaded machine may be late with: much longer than any of it takes."""

_LOOK_AGAIN_SECONDS = 0.02


async def until(condition: Callable[[], object], what: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds that nothing announces; look again and again."""
    try:
        async with asyncio.timeout(patience_seconds):
            while not condition():
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    except TimeoutError:
        pytest.fail(f"{what}: not within {patience_seconds:g} s")


async def until_it(condition: Callable[[], Awaitable[object]], what: str) -> None:
    """Wait until a condition holds that has to be asked for."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await condition():
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    except TimeoutError:
        pytest.fail(f"{what}: not within {PATIENCE_SECONDS:g} s")
