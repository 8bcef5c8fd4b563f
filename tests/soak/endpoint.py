"""The receiver's process, seen from outside."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

_LONGEST_LINE = 256 * 1024 * 1024


class Receiver:
    """Breaks and mends endpoints, and tells what they accepted."""

    def __init__(self, process: asyncio.subprocess.Process, ports: Sequence[int]) -> None:
        self._process = process
        self.urls = [f"https://localhost:{port}" for port in ports]

    @property
    def pid(self) -> int:
        return self._process.pid

    def set_mode(self, mode: str, endpoints: Sequence[int]) -> None:
        """Have endpoints ``accept``, ``reject`` or ``hang``."""
        self._order("mode", mode, list(endpoints))

    def close(self, port: int) -> None:
        """Refuse connections to a port, and close those there are."""
        self._order("close", port)

    def open(self, port: int) -> None:
        """Accept them again."""
        self._order("open", port)

    async def tell(self) -> dict[str, Any]:
        """Return counts, and examples of what is wrong."""
        self._order("tell")
        told: dict[str, Any] = await self._read()
        return told

    async def contents(self) -> dict[str, int]:
        """Return the fingerprint of the last content of each reservation that arrived."""
        self._order("contents")
        told: dict[str, int] = await self._read()
        return told

    def _order(self, *order: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(order) + b"\n")

    async def _read(self) -> Any:
        assert self._process.stdout is not None
        return orjson.loads(await self._process.stdout.readline())


@asynccontextmanager
async def started_receiver(certificate: Path, restaurants: int, ports: int) -> AsyncIterator[Receiver]:
    """Run the receiver, with so many ports that the endpoints share."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak.receiver", certificate, str(restaurants), str(ports),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Receiver(process, orjson.loads(await process.stdout.readline()))
    finally:
        process.stdin.close()
        await process.wait()
