"""Stands in for systemd: receives a service's notifications."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_SECONDS


class HeardService:
    """The notifications of a service, a line each."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.lines: list[str] = []
        self._heard = asyncio.Condition()

    async def wait_for(self, start: str, since: int = 0) -> str:
        """Wait for a line that begins so, not counting the first ``since``."""

        def found() -> str | None:
            return next((line for line in self.lines[since:] if line.startswith(start)), None)

        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._heard:
                await self._heard.wait_for(lambda: found() is not None)
        except TimeoutError:
            pytest.fail(f"{start} was not said: {self.lines[-20:]}")
        return found() or ""

    async def listen(self, way: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            said = await loop.sock_recv(way, 4096)
            async with self._heard:
                self.lines += said.decode().splitlines()
                self._heard.notify_all()


@asynccontextmanager
async def listening_service_manager(folder: Path) -> AsyncIterator[HeardService]:
    """Listen on a socket as systemd does."""
    address = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
        way.bind(address)
        way.setblocking(False)
        heard = HeardService(address)
        listening = asyncio.create_task(heard.listen(way))
        try:
            yield heard
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
