"""HTTP proxies between the bridge and an endpoint: one that follows scripts, and tinyproxy."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from tests.support.scripted_connections import ScriptedConnection
from tests.support.waiting import until

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_TINYPROXY = shutil.which("tinyproxy") or shutil.which("tinyproxy", path="/usr/sbin:/usr/bin")


class ProxyConnection(ScriptedConnection):
    """The proxy's end of a connection."""

    async def read_some(self) -> bytes:
        """Read what the client sends next."""
        return await self._reader.read(65536)

    async def forward(self, port: int) -> None:
        """Forward in both directions, to a port of this machine, until one end closes its connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pipe(self._reader, writer))
                both.create_task(_pipe(reader, self._writer))
        finally:
            writer.close()


Script = Callable[[ProxyConnection], Awaitable[None]]


class ProxyServer:
    """Listens on 127.0.0.1, and serves each connection until it is served, breaks, or the server is closed."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def serve(self, connection: ProxyConnection) -> None:
        """Serve one connection."""
        raise NotImplementedError

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self.serve(ProxyConnection(reader, writer, lambda _: None))
        except* (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # One of the ends is gone: the other gets no response.
        finally:
            writer.close()


class ScriptedProxy(ProxyServer):
    """Each connection follows the next script, and all further ones the last one."""

    def __init__(self, *scripts: Script) -> None:
        super().__init__()
        self.scripts = list(scripts)
        self.heads: list[bytes] = []
        """The CONNECT requests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, connection: ProxyConnection) -> None:
        self.heads.append(await connection.head())
        await self.scripts[min(len(self.heads), len(self.scripts)) - 1](connection)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def establishing(port: int) -> Script:
    """Return a script that makes a tunnel to a port of this machine, whatever was asked for."""

    async def script(connection: ProxyConnection) -> None:
        await connection.write(ESTABLISHED)
        await connection.forward(port)

    return script


def responding(*parts: bytes, closes: bool = True) -> Script:
    """Return a script that responds with bytes, each part once the one before was sent, and then closes or hangs."""

    async def script(connection: ProxyConnection) -> None:
        for part in parts:
            await connection.write(part)
            await asyncio.sleep(0)
        if not closes:
            await connection.wait_until_closed()

    return script


class Tinyproxy:
    """The proxy of Debian's package of this name, on 127.0.0.1."""

    def __init__(self, folder: Path, *directives: str) -> None:
        """Prepare to start.

        Args:
            folder: For its configuration and log.
            directives: Lines of its configuration, beside port and address.
        """
        self._folder = folder
        self._directives = directives
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it logged so far."""
        return (self._folder / "tinyproxy.log").read_text(encoding="utf-8")

    @property
    def tunnels(self) -> int:
        """How many CONNECT requests it got."""
        return self.log.count("): CONNECT ")

    async def __aenter__(self) -> Self:
        if _TINYPROXY is None:
            pytest.skip("tinyproxy is not here (Debian: apt-get install tinyproxy)")
        with socket.create_server(("127.0.0.1", self.port)) as free:
            self.port = free.getsockname()[1]
        configuration = self._folder / "tinyproxy.conf"
        lines = (
            f"Port {self.port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 20", "LogLevel Connect",
            f'LogFile "{self._folder / "tinyproxy.log"}"', *self._directives,
        )  # fmt: skip
        configuration.write_text("\n".join([*lines, ""]), encoding="utf-8")
        self._process = await asyncio.create_subprocess_exec(_TINYPROXY, "-d", "-c", str(configuration))
        await until(self._listens, "tinyproxy listens")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False
