"""A TCP proxy in front of PostgreSQL that can be cut, and that can lose notifications as pgbouncer does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.databases import Database

_HEADER_BYTES = 5
_NOTIFICATION = ord("A")


class Proxy:
    """Forwards connections to a server; understands just enough of its protocol to drop notifications."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0
        self.drop_notifications = False
        self.dropped = 0

    def through(self, conninfo: str) -> str:
        """Return a conninfo that leads through the proxy; without TLS, so that the proxy can read along."""
        return make_conninfo(conninfo, host="127.0.0.1", port=self._port, sslmode="disable", gssencmode="disable")

    async def start(self) -> None:
        """Accept connections, on the same port as before if it did before."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break all connections and refuse new ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            self._writers |= {writer, server_writer}
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._forward(reader, server_writer))
                    tasks.create_task(self._forward_messages(server_reader, writer))
            except* (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                for end in (writer, server_writer):
                    self._writers.discard(end)
                    end.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _forward_messages(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            header = await reader.readexactly(_HEADER_BYTES)
            rest = await reader.readexactly(int.from_bytes(header[1:]) - 4)
            if header[0] == _NOTIFICATION and self.drop_notifications:
                self.dropped += 1
                continue
            writer.write(header + rest)
            await writer.drain()


@pytest.fixture
async def proxy(database: Database) -> AsyncIterator[Proxy]:
    """A proxy in front of the test's PostgreSQL."""
    parameters = conninfo_to_dict(database.url)
    proxy = Proxy(str(parameters.get("host") or "127.0.0.1"), int(parameters.get("port") or 5432))
    await proxy.start()
    yield proxy
    await proxy.cut()
