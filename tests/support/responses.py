"""Responses of a receiver: as they should be, or wrong in one of many ways."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto

from aiohttp import web

_LOOK_AGAIN_SECONDS = 0.02
_PIECE = b"x" * 4096


class Manner(Enum):
    """How a response reaches the client."""

    WHOLE = auto()
    RESET = auto()
    """The connection is reset before a byte of it."""
    BROKEN_OFF = auto()
    """The connection is reset in the midst of its body."""
    ENDLESS = auto()
    """Its body goes on until the client hangs up."""
    TOO_LATE = auto()
    """It is sent when the client has hung up."""
    RAW = auto()
    """Its body's bytes are all that is sent: no status, no headers."""


@dataclass(frozen=True)
class Response:
    """A response. With 2xx the endpoint has the delivery, whether or not the client gets to know."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    manner: Manner = Manner.WHOLE
    after: asyncio.Event | None = None
    """Send it only when this is set."""
    after_seconds: float = 0.0
    """Send it only after so long."""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


async def respond(answer: Response, request: web.Request) -> web.StreamResponse:
    """Respond to a request."""
    if answer.after is not None:
        await answer.after.wait()
    await asyncio.sleep(answer.after_seconds)
    whole = web.Response(status=answer.status, headers=answer.headers, body=answer.body)
    match answer.manner:
        case Manner.WHOLE:
            return whole
        case Manner.RESET:
            _reset(request)
        case Manner.BROKEN_OFF:
            await _begin(answer, request, {"content-length": str(len(_PIECE) * 2)})
            _reset(request)
        case Manner.ENDLESS:
            await _go_on_for_good(answer, request)
        case Manner.TOO_LATE:
            await _until_client_hangs_up(request)
        case Manner.RAW:
            assert request.transport is not None
            request.transport.write(answer.body)
            request.transport.close()
    return whole


async def _begin(answer: Response, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers={**answer.headers, **headers})
    await response.prepare(request)
    await response.write(_PIECE)
    return response


async def _go_on_for_good(answer: Response, request: web.Request) -> None:
    response = await _begin(answer, request, {})
    with suppress(ConnectionError):
        while True:
            await response.write(_PIECE)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _until_client_hangs_up(request: web.Request) -> None:
    while request.transport is not None:
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def _reset(request: web.Request) -> None:
    if request.transport is not None:
        end: socket.socket = request.transport.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST in place of FIN
        request.transport.abort()
