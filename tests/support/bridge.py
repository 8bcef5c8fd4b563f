"""The real daemon and the real commands, as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.receiver import Receiver

SECRET = "whsec_" + b64encode(b"a signing key of the tests, 32 b").decode()
HEADER = "x-api-key: let-me-in"
PATIENCE_SECONDS = 30.0
DAEMON = "cdc_bridge"
SURPRISE = "deliveries ended by a surprise"
_PROJECT = Path(__file__).parents[2]


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("CDC_BRIDGE_")}
    return own | {"CDC_BRIDGE_CONFIG": os.devnull} | dict(settings)


async def run_command(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run a ``cdc-bridge`` command; return exit code, standard output and standard error."""
    return await run_command_with(b"", *arguments, **settings)


async def run_command_with(standard_input: bytes, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run a ``cdc-bridge`` command that may read something."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cdc_bridge", *arguments, env=clean_environment(settings),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE_SECONDS * 2):
            output, errors = await process.communicate(standard_input)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


class Bridge:
    """A daemon's process and its log."""

    def __init__(self, settings: Mapping[str, str], module: str = DAEMON, *, project: Path = _PROJECT) -> None:
        """Prepare to start.

        Args:
            settings: all that the daemon is told.
            module: what is run; another than the daemon is one that runs the daemon with a fault built in.
            project: where the code is; another than this project's is an earlier release.
        """
        self._settings = settings
        self._module = module
        self._project = project
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._logged = asyncio.Condition()
        self.log: list[dict[str, Any]] = []
        self.output: list[str] = []

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, "run", env=clean_environment(self._settings), cwd=self._project,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            limit=1024 * 1024,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for raw in process.stderr:
            line = raw.decode()
            async with self._logged:
                self.output.append(line)
                if line.startswith("{"):
                    self.log.append(json.loads(line))
                self._logged.notify_all()

    async def wait_for_log(self, event: str, since: int = 0, **facts: object) -> dict[str, Any]:
        """Wait for a log line with these facts, not counting the first ``since``; return it."""

        def found() -> dict[str, Any] | None:
            wanted = {"event": event} | facts
            return next((line for line in self.log[since:] if wanted.items() <= line.items()), None)

        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._logged:
                await self._logged.wait_for(lambda: found() is not None)
        except TimeoutError:
            pytest.fail(f'no log line "{event}" {facts or ""} within {PATIENCE_SECONDS:g} s:\n{self.text}')
        line = found()
        assert line is not None
        return line

    @property
    def text(self) -> str:
        return "".join(self.output[-60:])

    def send(self, signal_number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(signal_number)

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.send(signal.SIGKILL)
        await self.wait()

    async def terminate(self) -> int:
        """Stop it with SIGTERM; return its exit code."""
        self.send(signal.SIGTERM)
        return await self.wait()

    async def wait(self) -> int:
        """Wait for its end; return its exit code."""
        assert self._process is not None
        assert self._reading is not None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                code = await self._process.wait()
                await self._reading
        except TimeoutError:
            pytest.fail(f"the daemon did not end:\n{self.text}")
        return code

    async def close(self) -> None:
        if self.running:
            await self.kill()
        if self._reading is not None:
            await self._reading


class Bridges:
    """Makes daemons with the settings of a test, and ends them all."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = dict(settings)
        self._made: list[Bridge] = []

    def make(self, module: str = DAEMON, **overrides: str) -> Bridge:
        bridge = Bridge(self.settings | overrides, module)
        self._made.append(bridge)
        return bridge

    async def start(self, module: str = DAEMON, **overrides: str) -> Bridge:
        """Start a daemon and wait until it is up."""
        bridge = self.make(module, **overrides)
        await bridge.start()
        await bridge.wait_for_log("started")
        return bridge

    async def close(self) -> None:
        for bridge in self._made:
            await bridge.close()
            print(bridge.text)  # Shown where a test fails.
        surprises = [line for bridge in self._made for line in bridge.log if line["event"] == SURPRISE]
        assert not surprises, surprises[0]["exception"]


@pytest.fixture
def bridge_settings(database: Database, receiver: Receiver, certificates: Certificates) -> dict[str, str]:
    """The settings that suffice to run."""
    return {
        "CDC_BRIDGE_DATABASE_URL": database.bridge_url,
        "CDC_BRIDGE_ENDPOINT_URL": receiver.url,
        "CDC_BRIDGE_ENDPOINT_HEADER": HEADER,
        "CDC_BRIDGE_ENDPOINT_SECRET": SECRET,
        "CDC_BRIDGE_ENDPOINT_CA_FILE": str(certificates.ca_file),
        "CDC_BRIDGE_LOG_FORMAT": "json",
        "CDC_BRIDGE_LOG_LEVEL": "debug",
    }


@pytest.fixture
async def bridges(bridge_settings: dict[str, str]) -> AsyncIterator[Bridges]:
    """Starts daemons on the test's database towards the test's receiver."""
    bridges = Bridges(bridge_settings)
    yield bridges
    await bridges.close()
