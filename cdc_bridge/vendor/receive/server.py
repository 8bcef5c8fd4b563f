"""Serves a receiver over HTTPS."""

from __future__ import annotations

import os
import ssl

from aiohttp import web

from cdc_bridge.errors import BridgeError
from cdc_bridge.vendor.receive.receiver import Receiver


class ReceiverServer:
    """An HTTPS server for one receiver; once stopped, it can be started again on the same port."""

    def __init__(self, receiver: Receiver, tls: ssl.SSLContext, host: str = "127.0.0.1", port: int = 0) -> None:
        """Prepare a server.

        Args:
            receiver: Handles every request.
            tls: Certificate and key.
            host: Address to listen on.
            port: Port to listen on; 0 takes a free one.
        """
        self._receiver = receiver
        self._tls = tls
        self._host = host
        self._runner: web.AppRunner | None = None
        self.port = port

    async def start(self) -> None:
        """Listen.

        Raises:
            BridgeError: The address cannot be used.
        """
        self._runner = web.AppRunner(self._receiver.application(), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port, ssl_context=self._tls).start()
        except OSError as error:
            await self.stop()
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise BridgeError(
                f"cannot listen on {self._host}:{self.port}: {reason}", "Choose another --port."
            ) from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
