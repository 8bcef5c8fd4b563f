"""What stands in front of a receiver that speaks plain HTTP: it terminates TLS, and changes no byte."""

from __future__ import annotations

import asyncio
from typing import Self

from tests.support.certificates import Certificates
from tests.support.http_proxy import ProxyConnection


class TlsFront:
    """Listens on 127.0.0.1 and forwards each connection to another port of this machine, as long as that listens."""

    def __init__(self, port: int, certificates: Certificates) -> None:
        """Prepare to listen.

        Args:
            port: Where to forward to.
            certificates: Has the server's certificate.
        """
        self._target = port
        self._tls = certificates.good
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

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
            await ProxyConnection(reader, writer, lambda _: None).forward(self._target)
        except* (OSError, asyncio.CancelledError):  # The receiver is dead: the client gets no response.
            pass
        finally:
            writer.close()
