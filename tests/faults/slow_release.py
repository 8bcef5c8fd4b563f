"""The daemon with a database that is slow to release an endpoint: ``python -m tests.faults.slow_release run``."""

from __future__ import annotations

import asyncio
from typing import Any

from cdc_bridge.cli.app import main as run_command
from tests.faults.crash_points import find

_owner, _name = find("cdc_bridge.endpoints.lease_store:_release")
_release = getattr(_owner, _name)


async def _slow_release(*arguments: Any, **named: Any) -> None:
    await asyncio.sleep(1.5)
    await _release(*arguments, **named)


if __name__ == "__main__":
    setattr(_owner, _name, _slow_release)
    run_command()
