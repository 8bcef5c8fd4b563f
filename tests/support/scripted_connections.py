"""An HTTPS receiver whose connections each follow a script: which bytes are written, when, and how they are closed."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.support.certificates import Certificates
from tests.support.contract import look_at_reservation

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

_LESS_THAN_KEPT_SECONDS = 30.0

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class ScriptedConnection:
    """The receiver's end of a connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], object]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._note = note
        self.closed = asyncio.Event()
        """Set when the client has closed it."""

    async def head(self) -> bytes:
        """Read a request up to its body."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """Read a request and return its body."""
        return await self.body_of(await self.head())

    async def body_of(self, head: bytes) -> bytes:
        """Read the body of a request whose head was read."""
        length = _LENGTH.search(head)
        assert length is not None
        body = await self._reader.readexactly(int(length[1]))
        look_at_reservation(body)
        self._note(body)
        return body

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def wait_until_closed(self) -> None:
        """Read until the client closes the connection."""
        with suppress(ConnectionError):
            while await self._reader.read(65536):
                pass
        self.closed.set()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """End the connection without a word: the client gets a reset."""
        end: socket.socket = self._writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[ScriptedConnection], Awaitable[None]]


class ScriptedReceiver:
    """Receives on https://localhost. Each connection follows the next script, and all further ones the last one."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.scripts: list[Script] = []
        self.connections: list[ScriptedConnection] = []
        self.requests: list[tuple[int, bytes]] = []
        """Of every request that was received whole: the number of its connection, from 0 on, and its body."""

    async def start(self, certificates: Certificates, address: str = "127.0.0.1", port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, address, port, ssl=certificates.good)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/"

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_until_closed(self, number: int) -> None:
        """Wait until the client has closed a connection, for less than it keeps an idle one."""
        async with asyncio.timeout(_LESS_THAN_KEPT_SECONDS):
            await self.connections[number].closed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = len(self.connections)
        connection = ScriptedConnection(reader, writer, lambda body: self.requests.append((number, body)))
        self.connections.append(connection)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.scripts[min(number, len(self.scripts) - 1)](connection)
        connection.closed.set()
        writer.close()


async def accept_all(connection: ScriptedConnection) -> None:
    """Respond 200 to every request."""
    while True:
        await connection.request()
        await connection.write(OK)
