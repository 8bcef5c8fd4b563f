"""The receiver of a soak test: ``python -m tests.soak.receiver CERTIFICATE RESTAURANTS PORTS``.

It prints its ports, and then does what it reads, a line of JSON each: ``["mode", "hang", [1, 2]]`` and ``["close", 3]``
break something, ``["mode", "accept", [1, 2]]`` and ``["open", 3]`` mend it; ``["tell"]`` and ``["contents"]`` are
responded to with a line. The path of a request is its endpoint's name: ``/e17``.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import sys
from collections import Counter, defaultdict
from typing import Any

import orjson

from tests.soak.accepted import Accepted
from tests.support.fast_server import Connection, allow_many_connections, path_of, tls_of

_ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"
_REJECTED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
_ID = re.compile(rb"\r\nwebhook-id: *([^\r]*)", re.IGNORECASE)
_SEQUENCE = re.compile(rb"\r\nce-sequence: *(\d+)", re.IGNORECASE)
_BACKLOG = 1024


class _Port:
    """A port that stays ours while it refuses connections."""

    def __init__(self, receiver: _Receiver, tls: ssl.SSLContext) -> None:
        self._receiver = receiver
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[_PortConnection] = set()
        self._socket = self._bound(0)
        self.number: int = self._socket.getsockname()[1]

    def _bound(self, number: int) -> socket.socket:
        """Return a socket that does not listen: whoever connects to it is refused."""
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", number))
        return bound

    async def open(self) -> None:
        if self._server is None:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _PortConnection(self._receiver, self._connections),
                sock=self._socket, ssl=self._tls, backlog=_BACKLOG,
            )  # fmt: skip

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            for connection in list(self._connections):
                connection.abort()
            self._socket = self._bound(self.number)


class _PortConnection(Connection):
    def __init__(self, receiver: _Receiver, connections: set[_PortConnection]) -> None:
        super().__init__(receiver.receive)
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name for it
        self._connections.discard(self)


class _Receiver:
    def __init__(self, restaurants: int) -> None:
        self._accepted = Accepted(restaurants)
        self._modes: dict[int, str] = {}
        self._held: defaultdict[int, list[Connection]] = defaultdict(list)
        self._counts: Counter[str] = Counter()

    def receive(self, head: bytes, body: bytes, connection: Connection) -> None:
        endpoint = int(path_of(head)[1:])
        match self._modes.get(endpoint, "accept"):
            case "accept":
                message_id, sequence = _ID.search(head), _SEQUENCE.search(head)
                assert message_id is not None
                assert sequence is not None
                self._accepted.take(endpoint, message_id[1].decode(), int(sequence[1]), body)
                connection.respond(_ACCEPTED)
            case "hang":
                self._counts["held"] += 1
                self._held[endpoint].append(connection)
            case _:
                self._counts["rejected"] += 1
                connection.respond(_REJECTED)

    def set_mode(self, mode: str, endpoints: list[int]) -> None:
        for endpoint in endpoints:
            self._modes[endpoint] = mode
            for connection in self._held.pop(endpoint, ()):
                connection.abort()

    def tell(self) -> dict[str, Any]:
        return {"counts": self._accepted.counts | self._counts, "examples": self._accepted.examples}

    def contents(self) -> dict[str, int]:
        return self._accepted.contents()


async def _serve(certificate: str, restaurants: int, ports: int) -> None:
    allow_many_connections()
    receiver, tls = _Receiver(restaurants), tls_of(certificate)
    opened = [_Port(receiver, tls) for _ in range(ports)]
    for port in opened:
        await port.open()
    orders = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    _print([port.number for port in opened])
    while line := await orders.readline():
        match orjson.loads(line):
            case ["mode", mode, endpoints]:
                receiver.set_mode(mode, endpoints)
            case ["close", number]:
                await opened[number].close()
            case ["open", number]:
                await opened[number].open()
            case ["tell"]:
                _print(receiver.tell())
            case ["contents"]:
                _print(receiver.contents())


def _print(what: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
