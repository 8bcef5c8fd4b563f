"""The mapping guide's way from foreign tables to the first delivery, word for word."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc_bridge.demo.ports import free_port
from cdc_bridge.guides import Guide, guide_text
from tests.support.databases import BRIDGE_PASSWORD, Database
from tests.support.waiting import PATIENCE_SECONDS

SECTION = guide_text(Guide.MAPPING).partition("\n## From your tables to the first delivery\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```(sql|sh|diff)\n(.*?)^```", SECTION, flags=re.MULTILINE | re.DOTALL)
GOES_ON = ("cdc-bridge receive", "cdc-bridge run")

Shell = Callable[[str], Coroutine[Any, Any, str]]


class Terminals:
    """The terminals of somebody who follows the guide: one for commands, and one for each program that goes on."""

    def __init__(self, database: Database, programs: Path, folder: Path) -> None:
        server = {name: str(value) for name, value in conninfo_to_dict(database.url).items()}
        own = {name: value for name, value in os.environ.items() if not name.startswith(("CDC_BRIDGE_", "PG"))}
        self._environment = own | {
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CDC_BRIDGE_CONFIG": os.devnull,
            "PGHOST": server["host"],
            "PGPORT": server["port"],
            "PGUSER": server["user"],
            "PGPASSWORD": server["password"],
        }
        self._port = free_port()
        self._here = {
            "8443": str(self._port),
            "PGDATABASE=eres": f"PGDATABASE={database.name}",
            "-d eres": f"-d {database.name}",
            "@localhost/eres": f"@{server['host']}:{server['port']}/{database.name}",
            "choose-another-one": BRIDGE_PASSWORD,
            "receive --keep till": f"receive --keep till --port {self._port}",
        }
        self._folder = folder
        self._exported = ""
        self.running: list[asyncio.subprocess.Process] = []

    async def run(self, script: str) -> str:
        """Run a block; return what it prints, or, of a program that goes on, its first line."""
        for there, here in self._here.items():
            script = script.replace(there, here)
        exported = "".join(re.findall(r"^export .*\n", script, flags=re.MULTILINE))
        goes_on = any(words in script for words in GOES_ON)
        process = await asyncio.create_subprocess_exec(
            "sh", "-eu", "-c", f"{self._exported}{'exec ' * goes_on}{script}",
            env=self._environment, cwd=self._folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._exported += exported
        if goes_on:
            self.running.append(process)
            return await self.line_of(process)
        output, _ = await process.communicate()
        assert process.returncode == 0, f"{script}\n{output.decode()}"
        return output.decode()

    @staticmethod
    async def line_of(process: asyncio.subprocess.Process, containing: str = "") -> str:
        """Wait for a line that a program prints."""
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in process.stdout:
                if containing in line.decode():
                    return line.decode()
        pytest.fail(f"it ended without a line with {containing}")


@pytest.fixture
async def terminals(empty_database: Database, programs: Path, tmp_path: Path) -> AsyncIterator[Terminals]:
    terminals = Terminals(empty_database, programs, tmp_path)
    yield terminals
    for process in terminals.running:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.communicate()


async def test_guide_leads_from_foreign_tables_to_the_first_delivery(
    empty_database: Database, terminals: Terminals, tmp_path: Path
) -> None:
    mapping = tmp_path / "my-mapping.sql"
    printed = []
    for language, block in BLOCKS:
        if language == "sql":
            empty_database.execute(block)
        elif language == "diff":
            out, in_ = ([line[1:] for line in block.splitlines() if line.startswith(sign)] for sign in "-+")
            text = mapping.read_text()
            assert text.count("\n".join(out)) == 1, f"not in the draft: {out}\n{text}"
            mapping.write_text(text.replace("\n".join(out), "\n".join(in_)))
        else:
            printed.append(await terminals.run(block))
    assert "is not as" not in "".join(printed)
    assert '"surname": "Murt"' in "".join(printed)
    receive, _ = terminals.running
    assert "signature valid" in await terminals.line_of(receive, "signature")
