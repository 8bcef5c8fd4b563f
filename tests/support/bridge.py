"""The real daemon and the real commands, as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.launcher import PRODUCT, PROJECT, Process, start
from tests.support.waiting import PATIENCE_SECONDS, until

SECRET = "whsec_" + b64encode(b"a signing key of the tests, 32 b").decode()
HEADER = "x-api-key: let-me-in"
SURPRISE = "delivery task crashed"
_ASSIGNED = """
select e.name, e.fencing_token
from cdc_bridge.endpoint e
join cdc_bridge.daemon d using (daemon_id)
where d.alive_until > now() and split_part(d.name, ':', 2) = %s::text
"""


PROXY_VARIABLES = {"http_proxy", "https_proxy", "no_proxy", "all_proxy"}


def is_setting(variable: str) -> bool:
    """Return whether the product does something else for a variable of the environment."""
    return variable.startswith("CDC_BRIDGE_") or variable.lower() in PROXY_VARIABLES


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not is_setting(name)}
    return own | {"CDC_BRIDGE_CONFIG": os.devnull} | dict(settings)


async def run_command(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run a ``cdc-bridge`` command; return exit code, standard output and standard error."""
    return await run_command_with(b"", *arguments, **settings)


async def run_command_with(standard_input: bytes, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run a ``cdc-bridge`` command that may read something."""
    process = await start(PRODUCT, *arguments, environment=clean_environment(settings), standard_input=standard_input)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, errors, _ = await asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


class Bridge:
    """A daemon's process and its log."""

    def __init__(
        self,
        settings: Mapping[str, str],
        module: str = PRODUCT,
        *,
        project: Path = PROJECT,
        database: Database | None = None,
    ) -> None:
        """Prepare to start.

        Args:
            settings: The daemon's whole environment.
            module: What is run; another than the daemon is one that runs the daemon with a fault built in.
            project: Where the code is; another than this project's is an earlier release.
            database: Where the daemon's endpoints are, for ``until_assigned``.
        """
        self._settings = settings
        self._module = module
        self._project = project
        self._database = database
        self._process: Process | asyncio.subprocess.Process | None = None
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
        self._process = await start(
            self._module,
            "run",
            environment=clean_environment(self._settings),
            with_output=False,
            project=self._project,
        )
        assert self._process.stderr is not None
        self._reading = asyncio.create_task(self._read(self._process.stderr))

    async def _read(self, output: asyncio.StreamReader) -> None:
        async for raw in output:
            line = raw.decode()
            async with self._logged:
                self.output.append(line)
                if line.startswith("{"):
                    self.log.append(json.loads(line))
                self._logged.notify_all()

    async def wait_for_log(self, event: str, since: int = 0, **facts: object) -> dict[str, Any]:
        """Wait for a log line with these facts, not counting the first ``since``; return it."""
        wanted = {"event": event} | facts
        seen = since

        def found() -> dict[str, Any] | None:
            nonlocal seen
            line = next((line for line in self.log[seen:] if wanted.items() <= line.items()), None)
            seen = seen if line else len(self.log)  # Thousands of endpoints log thousands of lines.
            return line

        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._logged:
                await self._logged.wait_for(lambda: found() is not None)
        except TimeoutError:
            pytest.fail(f'no log line "{event}" {facts or ""} within {PATIENCE_SECONDS:g} s:\n{self.text}')
        line = found()
        assert line is not None
        return line

    def assignments(self) -> dict[str, int]:
        """Return the endpoints assigned to this daemon now, each with its fencing token."""
        assert self._database is not None
        return dict(self._database.execute(_ASSIGNED, (str(self.pid),)))

    async def until_assigned(self, *names: str, after: Mapping[str, int] | None = None) -> None:
        """Wait until endpoints are assigned to this daemon.

        Args:
            names: Their names; none means any endpoint.
            after: What ``assignments`` returned earlier: an assignment counts only if it is newer than that.
        """
        wanted = ", ".join(names) or "an endpoint"

        def assigned() -> bool:
            old = (after or {}).items()
            new = {name for name, token in self.assignments().items() if (name, token) not in old}
            return new.issuperset(names) if names else bool(new)

        try:
            await until(assigned, f"{wanted} is assigned to the daemon")
        except pytest.fail.Exception as failure:
            pytest.fail(f"{failure}\n{self.text}")

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

    def __init__(self, settings: Mapping[str, str], database: Database) -> None:
        self.settings = dict(settings)
        self._database = database
        self.made: list[Bridge] = []

    def make(self, module: str = PRODUCT, **overrides: str) -> Bridge:
        bridge = Bridge(self.settings | overrides, module, database=self._database)
        self.made.append(bridge)
        return bridge

    async def start_on(self, database: Database) -> Bridge:
        """Start a daemon on another database and wait until it is up."""
        bridge = Bridge(self.settings | {"CDC_BRIDGE_DATABASE_URL": database.bridge_url}, database=database)
        self.made.append(bridge)
        await bridge.start()
        await bridge.wait_for_log("started")
        return bridge

    async def start(self, module: str = PRODUCT, **overrides: str) -> Bridge:
        """Start a daemon and wait until it is up."""
        bridge = self.make(module, **overrides)
        await bridge.start()
        await bridge.wait_for_log("started")
        return bridge

    async def close(self) -> None:
        for bridge in self.made:
            await bridge.close()
            print(bridge.text)  # Shown where a test fails.
        surprises = [line for bridge in self.made for line in bridge.log if line["event"] == SURPRISE]
        assert not surprises, surprises[0]["exception"]
