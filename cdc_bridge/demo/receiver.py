"""Plays the till: an HTTPS server that insists on the configured header, a good signature and the contract's schema."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import trustme
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from cdc_bridge.vendor.receive.violations import violations_of

HEADER = ("x-api-key", "let-me-in")
_LARGEST_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """A call that arrived."""

    at: datetime
    status: int
    verdict: str
    seq: int
    message_id: str
    operation: str
    reservation: Mapping[str, Any]
    body: bytes


class Receiver:
    """Receives calls on https://localhost and remembers them."""

    def __init__(self, secret: str, on_call: Callable[[Call], None]) -> None:
        """Prepare to receive.

        Args:
            secret: the signing secret, ``whsec_...``.
            on_call: is told of each call when it is answered.
        """
        self._verifier = Webhook(secret)
        self._on_call = on_call
        self._ca = trustme.CA()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert("localhost").configure_cert(self._tls)
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.calls: list[Call] = []

    @property
    def url(self) -> str:
        """Where it receives; the same after it went away and came back."""
        return f"https://localhost:{self._port}/reservations"

    def write_ca(self, path: Path) -> None:
        """Write the certificate of the CA that a caller has to trust."""
        self._ca.cert_pem.write_to_path(path)

    async def start(self) -> None:
        """Begin to receive, on the same port as before if it did before."""
        application = web.Application(client_max_size=_LARGEST_BODY_BYTES)
        application.router.add_post("/reservations", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Go away: connections are closed and new ones refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        status, verdict = self._judge(request, body)
        call = Call(
            at=datetime.now(UTC),
            status=status,
            verdict=verdict,
            seq=int(request.headers.get("ce-sequence", "0")),
            message_id=request.headers.get("webhook-id", ""),
            operation=request.headers.get("ce-type", "").removeprefix("reservation."),
            reservation=orjson.loads(body),
            body=body,
        )
        self.calls.append(call)
        self._on_call(call)
        return web.Response(status=status)

    def _judge(self, request: web.Request, body: bytes) -> tuple[int, str]:
        name, value = HEADER
        if request.headers.get(name) != value:
            return 401, f"header {name} is missing or wrong"
        try:
            self._verifier.verify(body.decode(), dict(request.headers.items()))
        except WebhookVerificationError as error:
            return 401, f"signature: {error}"
        if violations := violations_of(body):
            return 422, f"signature good, not as the schema has it: {violations[0]}"
        return 200, "signature good"
