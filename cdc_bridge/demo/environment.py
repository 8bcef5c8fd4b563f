"""The demo's environment: PostgreSQL with the example e-Res, a receiver and the daemon."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from cdc_bridge.demo.ports import free_port
from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres, end_with_parent
from cdc_bridge.errors import BridgeError
from cdc_bridge.schema.install import install
from cdc_bridge.schema.sql_text import sql_folder
from cdc_bridge.sessions import connect
from cdc_bridge.vendor.receive.identity import identity_in
from cdc_bridge.vendor.receive.receiver import Behaviour, ReceivedRequest, Receiver
from cdc_bridge.vendor.receive.server import ReceiverServer

_DATABASE = "eres"
_STOP_TIMEOUT_SECONDS = 30


class DemoEnvironment:
    """Starts the parts and stops them; an async context manager."""

    def __init__(self, on_request: Callable[[ReceivedRequest], None]) -> None:
        """Set nothing up yet.

        Args:
            on_request: Called for each request that the receiver gets.
        """
        self._on_request = on_request
        self._password = token_urlsafe(12)
        self._dashboard_port = free_port()
        self.dashboard_token = token_urlsafe(24)
        """Token that signs in to the dashboard."""
        self._stack = AsyncExitStack()
        self._daemon: asyncio.subprocess.Process | None = None
        self.requests: list[ReceivedRequest] = []
        """Requests received so far."""

    @property
    def dashboard_url(self) -> str:
        """URL of the daemon's dashboard."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    @property
    def psql(self) -> str:
        """Command line that connects to the demo's database."""
        program = self.postgres.binaries / "psql"
        return f"{program if program.exists() else 'psql'} '{self.postgres.url_for(_DATABASE)}'"

    async def __aenter__(self) -> Self:
        """Set up everything but the daemon."""
        try:
            self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="cdc-bridge-demo-")))
            self.postgres = self._stack.enter_context(ThrowawayPostgres(durable=True))
            await self._set_up_database()
            self._identity = identity_in(self._folder / "receiver", ["localhost"])
            receiver = Receiver(self._identity.secret, Behaviour(), self._received)
            self.receiver = ReceiverServer(receiver, self._identity.tls)
            await self.receiver.start()
            self._stack.push_async_callback(self.receiver.stop)
            self._stack.push_async_callback(self.stop_daemon)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop and remove everything."""
        await self._stack.aclose()

    @property
    def database_url(self) -> str:
        """The superuser's URL of the demo's database."""
        return self.postgres.url_for(_DATABASE)

    async def connect(self) -> AsyncConnection[TupleRow]:
        """Open a connection as e-Res does."""
        connection = await AsyncConnection.connect(self.postgres.url_for(_DATABASE), autocommit=True)
        self._stack.push_async_callback(connection.close)
        return connection

    async def start_daemon(self) -> None:
        """Start ``cdc-bridge run`` in a process of its own."""
        own = {key: text for key, text in os.environ.items() if not key.startswith("CDC_BRIDGE_")}
        settings = {
            "CDC_BRIDGE_CONFIG": os.devnull,
            "CDC_BRIDGE_DATABASE_URL": self.postgres.url_for(_DATABASE, "cdc_bridge", self._password),
            "CDC_BRIDGE_ENDPOINT_URL": f"https://localhost:{self.receiver.port}/reservations",
            "CDC_BRIDGE_ENDPOINT_SECRET": self._identity.secret,
            "CDC_BRIDGE_ENDPOINT_CA_FILE": str(self._identity.ca_file),
            "CDC_BRIDGE_WEB_PORT": str(self._dashboard_port),
            "CDC_BRIDGE_WEB_TOKEN": self.dashboard_token,
            "CDC_BRIDGE_LOG_FORMAT": "json",
        }
        with (self._folder / "daemon.log").open("ab") as log:
            self._daemon = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "cdc_bridge",
                "run",
                env=own | settings,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=log,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )

    async def kill_daemon(self) -> None:
        """Kill the daemon with SIGKILL."""
        daemon = self._running_daemon()
        daemon.kill()
        await daemon.wait()
        self._daemon = None

    async def stop_daemon(self) -> None:
        """Stop the daemon with SIGTERM, if it runs."""
        if self._daemon is None:
            return
        if self._daemon.returncode is None:
            self._daemon.terminate()
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_SECONDS):
                    await self._daemon.wait()
            except TimeoutError:
                await self.kill_daemon()
        self._daemon = None

    def require_daemon(self) -> None:
        """Check that the daemon runs.

        Raises:
            BridgeError: It has ended by itself; with the end of its log.
        """
        self._running_daemon()

    def _running_daemon(self) -> asyncio.subprocess.Process:
        if self._daemon is None or self._daemon.returncode is not None:
            log = (self._folder / "daemon.log").read_text(errors="replace")[-2000:]
            raise BridgeError("the daemon has ended by itself:", more=log.splitlines())
        return self._daemon

    def _received(self, request: ReceivedRequest) -> None:
        self.requests.append(request)
        self._on_request(request)

    async def _set_up_database(self) -> None:
        async with await connect(self.postgres.url) as server:
            await server.execute(sql.SQL("create database {}").format(sql.Identifier(_DATABASE)))
        url = self.postgres.url_for(_DATABASE)
        async with await connect(url) as database:
            for name in ("schema.sql", "data.sql"):
                await database.execute((sql_folder() / "example" / name).read_bytes())
        await install(url, None, report=lambda _: None)
        async with await connect(url) as database:
            await database.execute(sql.SQL("alter role cdc_bridge password {}").format(sql.Literal(self._password)))
