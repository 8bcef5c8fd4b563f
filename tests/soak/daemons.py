"""The two daemons of a soak test."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.bridge import SURPRISE, clean_environment

_SAMPLES_EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Sample:
    """How much memory a daemon had."""

    at: float
    daemon: int
    megabytes: float


class Daemons:
    """Starts, kills and watches them; a context manager that leaves none behind."""

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        """Start none yet.

        Args:
            settings: Of both.
            folder: For their logs, to which each start appends.
        """
        self._settings = dict(settings)
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._starting = asyncio.Lock()
        self.logs = [folder / f"daemon-{number}.log" for number in range(2)]
        for log in self.logs:
            log.write_bytes(b"")
        self.samples: list[Sample] = []
        self.ended: list[str] = []
        """Those that ended though nobody ended them."""

    async def __aenter__(self) -> Self:
        for number in range(len(self.logs)):
            await self.start(number)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number in list(self._processes):
            await self._end(number, signal.SIGKILL)

    async def start(self, number: int) -> None:
        """Start one, unless it runs."""
        async with self._starting:
            if number in self._processes:
                return
            with self.logs[number].open("ab") as log:
                self._processes[number] = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "cdc_bridge", "run",
                    env=clean_environment(self._settings), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip

    async def kill(self, number: int) -> None:
        """Kill one with SIGKILL, if it runs."""
        if number in self._processes:
            await self._end(number, signal.SIGKILL)

    async def stop(self) -> None:
        """Stop all as an operator does, and note those that do not end in order."""
        for number in list(self._processes):
            code = await self._end(number, signal.SIGTERM)
            if code != 0:
                self.ended.append(f"daemon {number} was stopped and ended with exit code {code}")

    async def _end(self, number: int, how: signal.Signals) -> int:
        process = self._processes.pop(number)
        if process.returncode is None:
            process.send_signal(how)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()

    async def watch(self, began: float) -> None:
        """Note their memory, and start again those that ended by themselves; until cancelled."""
        while True:
            for number, process in list(self._processes.items()):
                if self._processes.get(number) is not process:
                    continue  # It was killed meanwhile.
                if process.returncode is not None:
                    self.ended.append(f"daemon {number} ended by itself with exit code {process.returncode}")
                    del self._processes[number]
                    await self.start(number)
                elif megabytes := _resident_megabytes(process.pid):
                    self.samples.append(Sample(time.monotonic() - began, number, megabytes))
            await asyncio.sleep(_SAMPLES_EVERY_SECONDS)

    def crashes(self) -> int:
        """Return how many log lines tell that a delivery task or a daemon crashed."""
        lines = (line for log in self.logs for line in log.read_text(encoding="utf-8").splitlines())
        return sum(SURPRISE in line or "Traceback" in line for line in lines)


def _resident_megabytes(pid: int) -> float:
    """Return the memory that a process has now, none if it has just ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000
