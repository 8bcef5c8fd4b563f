"""A TCP proxy in front of PostgreSQL: a network that can be cut, stalled and slowed down.

It understands just enough of the protocol to lose notifications, as pgbouncer does, and to keep back the response
to one statement.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from psycopg.conninfo import make_conninfo

from cdc_bridge.tasks import end, run_together

_HEADER_BYTES = 5
_NOTIFICATION = ord("A")


class _Connection:
    """One connection of a client: its state, and its two ends."""

    def __init__(self, client: asyncio.StreamWriter, *, flows: bool) -> None:
        self.ends = [client]
        self.flows = asyncio.Event()
        self.keeps_answers_back = False
        self.forgotten = False
        if flows:
            self.flows.set()

    def abort(self) -> None:
        for end_ in self.ends:
            end_.transport.abort()
        self.flows.set()  # lets go of what waits in a stall


class Proxy:
    """Forwards connections to a server."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._stalled = False
        self._port = 0
        self.drop_notifications = False
        self.dropped = 0
        self.delay_seconds = 0.0
        """Added to everything that is sent, in both directions."""
        self.bytes_per_second = float("inf")
        self.keep_back_answer_to: bytes | None = None
        """When a client has sent this, it gets no response any more; the statement is run all the same."""
        self.answer_kept_back = asyncio.Event()
        """Set when the server has responded to ``keep_back_answer_to``."""

    def through(self, conninfo: str) -> str:
        """Return a conninfo that leads through the proxy; without TLS, so that the proxy can read along."""
        return make_conninfo(conninfo, host="127.0.0.1", port=self._port, sslmode="disable", gssencmode="disable")

    async def start(self) -> None:
        """Accept connections, on the same port as before if it did before."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break all connections and refuse new ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            for listening in listener.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            await asyncio.sleep(0)  # asyncio loses a connection that it has half accepted when its server is closed.
            listener.close()
        broken = list(self._connections)
        self.break_connections()
        # Also those that were accepted and have not reached the server yet: else they would outlive the cut.
        await end(self._serving)
        ends = [end_ for connection in broken for end_ in connection.ends]
        await asyncio.gather(*(end_.wait_closed() for end_ in ends), return_exceptions=True)

    def break_connections(self) -> None:
        """Break the connections there are; what a stall held up is lost with them."""
        for connection in self._connections:
            connection.abort()

    def stall(self) -> None:
        """Forward nothing more, without breaking a connection; new ones are accepted, and nothing comes of them."""
        self._stalled = True
        for connection in self._connections:
            connection.flows.clear()

    def go_on(self) -> None:
        """End a stall: what was held up arrives."""
        self._stalled = False
        for connection in self._connections:
            if not connection.forgotten:
                connection.flows.set()

    def forget_connections(self) -> None:
        """Forward nothing more on the connections there are, as a firewall that lost its memory; new ones work."""
        for connection in self._connections:
            connection.flows.clear()
            connection.forgotten = True

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Know a connection from its first moment, so that a cut misses none."""
        if self._listener is None:  # cut between the operating system's accept and this
            writer.transport.abort()
            return
        connection = _Connection(writer, flows=not self._stalled)
        self._connections.add(connection)
        task = asyncio.create_task(self._serve(connection, reader))
        self._serving.add(task)
        task.add_done_callback(lambda _: self._forget(task, connection))

    def _forget(self, task: asyncio.Task[None], connection: _Connection) -> None:
        # A callback, for a task that is cancelled before its first step runs no "finally" of its own.
        connection.abort()
        self._serving.discard(task)
        self._connections.discard(connection)

    async def _serve(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        (client,) = connection.ends
        with suppress(ConnectionError):
            server_reader, server = await asyncio.open_connection(*self._target)
            connection.ends.append(server)
            await run_together(
                self._forward(connection, reader, server), self._forward_messages(connection, server_reader, client)
            )

    async def _forward(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if self.keep_back_answer_to is not None and self.keep_back_answer_to in data:
                self.keep_back_answer_to = None
                connection.keeps_answers_back = True
            await self._send(connection, data, writer)

    async def _forward_messages(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        unread = bytearray()
        while data := await reader.read(65536):
            unread += data
            await self._send(connection, self._passed_on(connection, unread), writer)

    def _passed_on(self, connection: _Connection, unread: bytearray) -> bytes:
        """Take the whole messages off what was read; return what of them is to be forwarded."""
        passed_on = bytearray()
        while len(unread) >= _HEADER_BYTES:
            length = 1 + int.from_bytes(unread[1:_HEADER_BYTES])
            if len(unread) < length:
                break
            if unread[0] == _NOTIFICATION and self.drop_notifications:
                self.dropped += 1
            elif connection.keeps_answers_back:
                self.answer_kept_back.set()
            else:
                passed_on += unread[:length]
            del unread[:length]
        return bytes(passed_on)

    async def _send(self, connection: _Connection, data: bytes, writer: asyncio.StreamWriter) -> None:
        await connection.flows.wait()
        if pause := self.delay_seconds + len(data) / self.bytes_per_second:
            await asyncio.sleep(pause)
        writer.write(data)
        await writer.drain()
