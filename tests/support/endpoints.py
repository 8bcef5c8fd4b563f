"""Endpoints in the database: written as the commands write them, and by the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.bridge import run_command_with
from tests.support.databases import Database

_ADD = """
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, secret, ca_file,
  max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds, position, cluster
)
values (
  %(name)s, false, %(url)s, '{}', %(secret)s, %(ca_file)s, 16, false, 15, 5,
  '1:1:', (select system_identifier from pg_control_system())
)
"""


def add_endpoint(database: Database, name: str, url: str, ca_file: Path, secret: str | None = None) -> None:
    """Add an endpoint that begins with the oldest change."""
    database.execute(_ADD, {"name": name, "url": url, "ca_file": str(ca_file), "secret": secret})


class EndpointCommands:
    """Runs ``cdc-bridge endpoint`` on the test's database, and remembers all that was printed."""

    def __init__(self, database: Database) -> None:
        self.settings = {"CDC_BRIDGE_DATABASE_URL": database.bridge_url}
        self.printed = ""

    async def run(self, *arguments: str, code: int = 0, standard_input: bytes = b"", **settings: str) -> str:
        """Run one; return what it printed."""
        ended, output, errors = await run_command_with(
            standard_input, "endpoint", *arguments, **self.settings | settings
        )
        self.printed += output + errors
        assert ended == code, output + errors
        assert "Traceback" not in errors
        return output + errors

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self.run(*arguments, "--json"))

    async def refused(self, *arguments: str, code: int = 1, standard_input: bytes = b"", **settings: str) -> str:
        """Run one that is refused; return why, on one line."""
        told = await self.run(*arguments, code=code, standard_input=standard_input, **settings)
        assert "cdc-bridge: " in told
        return " ".join(told.split())
