"""Starts and stops the parts of the demo."""

from __future__ import annotations

import asyncio
import os
import sys
from base64 import b64encode
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from secrets import token_bytes, token_urlsafe
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from cdc_bridge.database import connect
from cdc_bridge.demo.receiver import HEADER, Call, Receiver
from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres, end_with_parent, free_port
from cdc_bridge.errors import BridgeError
from cdc_bridge.schema.install import install
from cdc_bridge.schema.sql_text import sql_folder

_DATABASE = "eres"
_STOP_PATIENCE_SECONDS = 30


class Stage:
    """PostgreSQL with the example e-Res, the receiver and the daemon; an async context manager."""

    def __init__(self, on_call: Callable[[Call], None]) -> None:
        """Set nothing up yet.

        Args:
            on_call: is told of each call that the receiver answers.
        """
        self._secret = "whsec_" + b64encode(token_bytes(32)).decode()
        self._password = token_urlsafe(12)
        self._page_port = free_port()
        self.page_token = token_urlsafe(24)
        """What signs in to the daemon's page."""
        self._stack = AsyncExitStack()
        self._daemon: asyncio.subprocess.Process | None = None
        self.receiver = Receiver(self._secret, on_call)

    @property
    def page_url(self) -> str:
        """Where the daemon's page is."""
        return f"http://127.0.0.1:{self._page_port}"

    @property
    def psql(self) -> str:
        """The command line that leads into the demo's database."""
        program = self.postgres.binaries / "psql"
        return f"{program if program.exists() else 'psql'} '{self.postgres.url_for(_DATABASE)}'"

    async def __aenter__(self) -> Self:
        """Set up all but the daemon."""
        try:
            self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="cdc-bridge-demo-")))
            self.postgres = self._stack.enter_context(ThrowawayPostgres(durable=True))
            await self._set_up_database()
            await self.receiver.start()
            self._stack.push_async_callback(self.receiver.stop)
            self.receiver.write_ca(self._folder / "ca.pem")
            self._stack.push_async_callback(self.stop_daemon)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take everything down and away."""
        await self._stack.aclose()

    async def connect(self) -> AsyncConnection[TupleRow]:
        """Open a connection as e-Res itself has it."""
        connection = await AsyncConnection.connect(self.postgres.url_for(_DATABASE), autocommit=True)
        self._stack.push_async_callback(connection.close)
        return connection

    async def start_daemon(self) -> None:
        """Start ``cdc-bridge run`` as a process of its own."""
        name, value = HEADER
        own = {key: text for key, text in os.environ.items() if not key.startswith("CDC_BRIDGE_")}
        settings = {
            "CDC_BRIDGE_CONFIG": os.devnull,
            "CDC_BRIDGE_DATABASE_URL": self.postgres.url_for(_DATABASE, "cdc_bridge", self._password),
            "CDC_BRIDGE_ENDPOINT_URL": self.receiver.url,
            "CDC_BRIDGE_ENDPOINT_HEADER": f"{name}: {value}",
            "CDC_BRIDGE_ENDPOINT_SECRET": self._secret,
            "CDC_BRIDGE_ENDPOINT_CA_FILE": str(self._folder / "ca.pem"),
            "CDC_BRIDGE_WEB_PORT": str(self._page_port),
            "CDC_BRIDGE_WEB_TOKEN": self.page_token,
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
                async with asyncio.timeout(_STOP_PATIENCE_SECONDS):
                    await self._daemon.wait()
            except TimeoutError:
                await self.kill_daemon()
        self._daemon = None

    def require_daemon(self) -> None:
        """Make sure that the daemon runs.

        Raises:
            BridgeError: it has ended by itself; with the end of its log.
        """
        self._running_daemon()

    def _running_daemon(self) -> asyncio.subprocess.Process:
        if self._daemon is None or self._daemon.returncode is not None:
            log = (self._folder / "daemon.log").read_text(errors="replace")[-2000:]
            raise BridgeError(f"the daemon has ended by itself:\n{log}")
        return self._daemon

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
