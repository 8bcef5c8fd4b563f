"""Commands that take their time: started, listened to, interrupted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from tests.support.bridge import clean_environment
from tests.support.launcher import PRODUCT, Process, start
from tests.support.waiting import PATIENCE_SECONDS


class RunningCommand:
    """A command's process, and what it has said so far."""

    def __init__(self, process: Process | asyncio.subprocess.Process) -> None:
        self._process = process
        self._said = asyncio.Condition()
        self._readings = [asyncio.create_task(self._read(stream)) for stream in (process.stdout, process.stderr)]
        self.words = ""

    async def _read(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        async for line in stream:
            async with self._said:
                self.words += line.decode()
                self._said.notify_all()

    async def wait_for(self, words: str) -> None:
        """Wait until it has said some words."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._said:
                await self._said.wait_for(lambda: words in self.words)
        except TimeoutError:
            pytest.fail(f'"{words}" was not said: {self.words}')

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def ended(self, patience_seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end; return its exit code."""
        try:
            async with asyncio.timeout(patience_seconds):
                code = await self._process.wait()
                await asyncio.gather(*self._readings)
        except TimeoutError:
            pytest.fail(f"the command did not end: {self.words}")
        return code

    async def close(self) -> None:
        if self.running:
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._readings)


@asynccontextmanager
async def started_command(settings: Mapping[str, str], *arguments: str) -> AsyncIterator[RunningCommand]:
    """Start a ``cdc-bridge`` command; it is killed at the end if it has not ended by then."""
    process = await start(PRODUCT, *arguments, environment=clean_environment(settings))
    command = RunningCommand(process)
    try:
        yield command
    finally:
        await command.close()
