"""An HTTPS receiver over blocking sockets: it sees how the client closes TLS, and sends alerts as servers do."""

from __future__ import annotations

import asyncio
import queue
import re
import socket
import ssl
import threading
from contextlib import suppress

from tests.support.waiting import PATIENCE_SECONDS

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class BlockingReceiver:
    """Responds 200 to everything."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends = queue.Queue[str]()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._listener.getsockname()[1]}/"

    async def next_end(self) -> str:
        """Wait for the end of a connection; return how the client ended it."""
        return await asyncio.to_thread(self._ends.get, timeout=PATIENCE_SECONDS)

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_SECONDS)
        with self._tls.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
        ) as secured:
            try:
                secured.do_handshake()
                self._respond(secured)
            except OSError as error:
                self._ends.put(f"rough: {error}")
                with suppress(OSError):  # What it sent is lost if it closes with something unread.
                    secured.shutdown(socket.SHUT_WR)  # of TCP: from now on it reads what is there, without TLS
                    while secured.recv(65536):
                        pass

    def _respond(self, secured: ssl.SSLSocket) -> None:
        received = b""
        while piece := secured.recv(65536):
            received += piece
            head, end, body = received.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if end and length and len(body) >= int(length[1]):
                received = b""
                secured.sendall(_OK)
        self._ends.put("in order")
        with suppress(OSError):
            secured.unwrap()
