"""An HTTPS server that does as little as Python can, for receivers of many requests and many connections."""

from __future__ import annotations

import asyncio
import re
import resource
import ssl
from collections.abc import Callable
from pathlib import Path

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """Splits what arrives into requests."""

    def __init__(self, on_request: Callable[[bytes, bytes, Connection], None]) -> None:
        """Expect requests.

        Args:
            on_request: Is called with the head of each, its body, and this connection, to respond to it.
        """
        self._on_request = on_request
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n") + 4) > 3:
            head = self._unread[: end - 2]
            length = _LENGTH.search(head)
            whole = end + (int(length[1]) if length else 0)
            if len(self._unread) < whole:
                return
            body, self._unread = self._unread[end:whole], self._unread[whole:]
            self._on_request(head, body, self)

    def respond(self, response: bytes) -> None:
        """Send a response, if somebody is still there."""
        if not self._transport.is_closing():
            self._transport.write(response)

    def abort(self) -> None:
        """Close it without a word."""
        self._transport.abort()


def tls_of(certificate: Path | str) -> ssl.SSLContext:
    """Return a server's TLS context from a file with certificate chain and key."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    return tls


def path_of(head: bytes) -> bytes:
    """Return the path of a request, without the first slash."""
    return head.split(b" ", 2)[1][1:]


def allow_many_connections() -> None:
    """Let this process have as many descriptors as it may: each endpoint may have connections of its own."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
