"""A real HTTPS receiver that responds by a script and remembers every request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from aiohttp import web

from cdc_bridge.demo.ports import free_port
from cdc_bridge.transport.message import seq_of
from tests.support.contract import look_at_request
from tests.support.responses import Response, respond
from tests.support.waiting import PATIENCE_SECONDS


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it arrived."""

    at: datetime
    path: str
    headers: Mapping[str, str]
    body: bytes
    port: int
    """The sender's."""

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed

    @property
    def sequence(self) -> int:
        """Its place in the order of all deliveries."""
        return int(self.headers["ce-sequence"])

    @property
    def seq(self) -> int:
        """Number of the change that it is about."""
        return seq_of(self.sequence)

    @property
    def reservation_id(self) -> str:
        return str(self.json["id"])


Script = Callable[[ReceivedRequest], Response]


class Receiver:
    """Receives on https://localhost; with ``tls=None`` on http://."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.tls = tls
        """What it speaks once it is started (again)."""
        self._runner: web.AppRunner | None = None
        self._port = free_port()
        self._arrived = asyncio.Condition()
        self.script: Script = lambda _: Response()
        self.requests: list[ReceivedRequest] = []
        self.delivered: list[ReceivedRequest] = []
        self.delivered_count = 0
        self.under_way = 0
        self.most_under_way = 0
        self.keep_requests = True
        """Off for a test with more requests than are good to remember."""
        self.on_delivered: Callable[[ReceivedRequest], object] = lambda _: None

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://localhost:{self._port}/reservations"

    async def start(self) -> None:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self.tls, reuse_address=True).start()

    async def stop(self) -> None:
        """Close all connections and refuse new ones."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def connections(self) -> int:
        """Connected clients; what one sent before it died is received before it counts as disconnected."""
        server = self._runner and self._runner.server
        return len(server.connections) if server else 0

    @property
    def ports(self) -> set[int]:
        """The ports of connected clients."""
        server = self._runner and self._runner.server
        transports = [connection.transport for connection in server.connections] if server else []
        return {transport.get_extra_info("peername")[1] for transport in transports if transport is not None}

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        _, port = request.get_extra_info("peername", (None, 0))
        received = ReceivedRequest(
            datetime.now(UTC), request.path_qs, request.headers.copy(), await request.read(), port
        )
        look_at_request(received.headers, received.body)
        response = self.script(received)
        if self.keep_requests:
            self.requests.append(received)
        if response.is_success:
            self.delivered_count += 1
            self.on_delivered(received)
            if self.keep_requests:
                self.delivered.append(received)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self._notify()
        try:
            return await respond(response, request)
        finally:
            self.under_way -= 1

    async def _notify(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()

    async def wait_for(
        self, condition: Callable[[], bool], what: str, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Wait until a condition on what arrived holds."""
        try:
            async with asyncio.timeout(patience_seconds), self._arrived:
                await self._arrived.wait_for(condition)
        except TimeoutError:
            arrived = f"{len(self.requests)} requests, {self.delivered_count} delivered"
            pytest.fail(f"{what}: not within {patience_seconds:g} s; {arrived}")

    async def wait_for_requests(self, number: int, patience_seconds: float = PATIENCE_SECONDS) -> list[ReceivedRequest]:
        """Wait until so many requests have arrived; return all."""
        await self.wait_for(lambda: len(self.requests) >= number, f"{number} requests", patience_seconds)
        return self.requests

    async def wait_for_delivered(
        self, number: int, patience_seconds: float = PATIENCE_SECONDS
    ) -> list[ReceivedRequest]:
        """Wait until so many requests were answered with 2xx; return them."""
        await self.wait_for(lambda: len(self.delivered) >= number, f"{number} deliveries", patience_seconds)
        return self.delivered
