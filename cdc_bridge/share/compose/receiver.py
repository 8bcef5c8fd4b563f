"""The till of docker-compose.yml: takes calls over HTTPS, verifies their signatures and prints each.

    receiver.py PORT CERTIFICATES

``RECEIVER_SECRET`` is the signing secret; ``CERTIFICATES`` is a folder with ``server.pem`` and ``server.key``.
"""  # noqa: INP001 - it is run by its path and imports nothing of the package, as a vendor's till would

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError


def main(port: int, certificates: Path, secret: str) -> None:
    """Receive until SIGTERM."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    application = web.Application()
    application.add_routes([web.post("/reservations", _Till(secret).receive), web.get("/healthz", _healthy)])
    web.run_app(application, port=port, ssl_context=tls, access_log=None, print=None)


class _Till:
    def __init__(self, secret: str) -> None:
        self._verifier = Webhook(secret)

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.text()
        try:
            self._verifier.verify(body, dict(request.headers))
        except WebhookVerificationError as error:
            return _answer(401, str(error))
        return _answer(204, f"{request.headers.get('ce-type')} {body}")


async def _healthy(_: web.Request) -> web.Response:
    return web.Response()


def _answer(status: int, words: str) -> web.Response:
    print(status, words, flush=True)  # noqa: T201 - that is what it is for
    return web.Response(status=status)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), os.environ["RECEIVER_SECRET"])
