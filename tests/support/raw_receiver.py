"""An HTTPS receiver that can write any bytes in place of a response."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass

import orjson

from tests.support.certificates import Certificates
from tests.support.contract import look_at_reservation
from tests.support.waiting import PATIENCE_SECONDS

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True)
class RawResponse:
    """Bytes, and whether the connection is closed after them; if not, nothing follows."""

    data: bytes
    closes: bool


class RawReceiver:
    """Responds with 200, but for the reservations that have a response of their own."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._received = asyncio.Condition()
        self.responses: dict[str, RawResponse] = {}
        """By reservation; each is given once."""
        self.requests: dict[str, int] = defaultdict(int)
        """How many requests there were for each reservation."""

    async def start(self, certificates: Certificates) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=certificates.good)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"https://localhost:{self._server.sockets[0].getsockname()[1]}/"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def wait_for_request_for(self, reservation_id: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._received:
            await self._received.wait_for(lambda: self.requests[reservation_id] > 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                assert length is not None
                body = await reader.readexactly(int(length[1]))
                look_at_reservation(body)
                if not await self._respond(orjson.loads(body)["id"], reader, writer):
                    break
        writer.close()

    async def _respond(self, reservation_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Respond to a request; return whether the connection can go on."""
        answer = self.responses.pop(reservation_id, None)
        writer.write(_GOOD if answer is None else answer.data)
        await writer.drain()
        async with self._received:
            self.requests[reservation_id] += 1
            self._received.notify_all()
        if answer is not None and not answer.closes:
            await reader.read()
        return answer is None
