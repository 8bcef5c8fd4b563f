"""Asks a proxy for a tunnel to an endpoint (``CONNECT``, RFC 9110, section 9.3.6).

Over the tunnel TLS is spoken with the endpoint, and verified, as over a connection to it. So the proxy learns the
endpoint's host and port, and nothing of what is sent. It resolves the host's name.

What a proxy responds is never an endpoint's response: anything but a tunnel is :class:`ProxyFailed`, which says nothing
of the endpoint or of a delivery. It is read from the socket before a connection of HTTP is made of it, and the
credentials go nowhere else.
"""

from __future__ import annotations

import asyncio
import re
import socket
from base64 import b64encode

import aiohttp

from cdc_bridge import __version__
from cdc_bridge.endpoints.proxy_address import ProxyAddress

_STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})(?: [^\n]*|\r)?\n")
_END = re.compile(rb"\n\r?\n")
_HTTP = b"HTTP/1."
_HEAD_LIMIT_BYTES = 64 * 1024


class ProxyFailed(aiohttp.ClientConnectionError):
    """There is no tunnel; its text says why and what to do, and repeats neither user nor password."""


class ProxyUnreachable(ProxyFailed):
    """The proxy cannot be connected to."""

    def __init__(self, proxy: ProxyAddress, os_error: OSError) -> None:
        super().__init__(f"cannot connect to the proxy {proxy}")
        self.proxy = proxy
        self.os_error = os_error


async def request_tunnel(connected: socket.socket, proxy: ProxyAddress, host: str, port: int) -> None:
    """Have a proxy connect to a host; after that, what is sent to the socket goes there.

    Args:
        connected: A connection to the proxy; it is closed if there is no tunnel.
        proxy: The proxy.
        host: Name or address of the endpoint's host, as in its URL.
        port: The endpoint's port.

    Raises:
        ProxyFailed: The proxy rejects it, closes the connection or does not speak HTTP.
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        status, rest = await _response(connected, proxy, target)
        _require_tunnel(status, rest, proxy, target)
    except BaseException:
        connected.close()
        raise


async def _response(connected: socket.socket, proxy: ProxyAddress, target: str) -> tuple[int, bytes]:
    """Return status and what follows the head of the response."""
    loop, received = asyncio.get_running_loop(), b""
    try:
        await loop.sock_sendall(connected, _request(target, proxy.credentials))
        while (found := _status(received)) is None:
            if not _may_be_http(received):
                raise ProxyFailed(f"the proxy {proxy} does not speak HTTP at this port")
            if len(received) > _HEAD_LIMIT_BYTES:
                raise ProxyFailed(f"the proxy {proxy} sent headers that do not end within 64 KiB")
            data = await loop.sock_recv(connected, _HEAD_LIMIT_BYTES)
            if not data:
                raise ProxyFailed(f"the proxy {proxy} closed the connection without a response")
            received += data
    except OSError as error:
        raise ProxyFailed(f"the proxy {proxy} reset the connection without a response") from error
    return found


def _require_tunnel(status: int, rest: bytes, proxy: ProxyAddress, target: str) -> None:
    if not 200 <= status < 300:
        meaning = _meaning(status, proxy, target)
        raise ProxyFailed(f"the proxy {proxy} rejected the connection: HTTP {status}{meaning}")
    if rest:  # In TLS the client speaks first.
        raise ProxyFailed(
            f"the proxy {proxy} sent bytes before TLS with the endpoint began: it is no proxy, or no TLS is spoken at "
            f"{target}"
        )


def _request(target: str, credentials: tuple[str, str] | None) -> bytes:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", f"User-Agent: cdc-bridge/{__version__}"]
    if credentials is not None:
        lines.append(f"Proxy-Authorization: Basic {b64encode(':'.join(credentials).encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


def _status(received: bytes) -> tuple[int, bytes] | None:
    """Return status and what follows the head of a response; ``None``: it is not there yet.

    A rejection is known by its status line; what follows does not matter.
    """
    position = 0
    while (line := _STATUS_LINE.match(received, position)) is not None:
        status, end = int(line[1]), _END.search(received, line.end() - 1)
        if status >= 300:
            return status, b""
        if end is None:
            return None
        if status >= 200:
            return status, received[end.end() :]
        position = end.end()
    return None


def _may_be_http(received: bytes) -> bool:
    """Return whether a response may begin with some bytes."""
    return received.startswith(_HTTP[: len(received)]) and (b"\n" not in received or bool(_STATUS_LINE.match(received)))


def _meaning(status: int, proxy: ProxyAddress, target: str) -> str:
    match status:
        case 401 | 407 if proxy.credentials is None:
            return ", it wants a user and password: http://user:password@..."
        case 401 | 407:
            return ", it does not accept the user and password"
        case 403:
            return f", it allows no connection to {target}"
        case 400 | 404 | 405 | 501:
            return ", it may be no HTTP proxy, or one without CONNECT"
        case _ if status >= 500:
            return f", it cannot connect to {target}"
        case _:
            return ""
