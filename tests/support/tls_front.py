"""What stands in front of a receiver that speaks plain HTTP: it terminates TLS, and changes no byte."""

from __future__ import annotations

from tests.support.certificates import Certificates
from tests.support.http_proxy import ProxyConnection, ProxyServer


class TlsFront(ProxyServer):
    """Forwards each connection to another port of this machine, as long as that listens."""

    def __init__(self, port: int, certificates: Certificates) -> None:
        """Prepare to listen.

        Args:
            port: Where to forward to.
            certificates: Has the server's certificate.
        """
        super().__init__(certificates.good)
        self._target = port

    async def serve(self, connection: ProxyConnection) -> None:
        """Forward until one end closes its connection."""
        await connection.forward(self._target)
