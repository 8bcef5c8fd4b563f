"""The daemon with a standstill built in: ``python -m tests.faults.hang_points run``.

It takes the place of a fault nobody has thought of: a function of the real daemon never returns
(``CDC_BRIDGE_TEST_HANG_POINT``), while everything else goes on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from cdc_bridge.cli.app import main as run_command
from tests.faults.crash_points import find

POINT_VARIABLE = "CDC_BRIDGE_TEST_HANG_POINT"


async def _for_good(*_: Any, **__: Any) -> Any:
    await asyncio.Event().wait()


def _blocking_the_loop(*_: Any, **__: Any) -> Any:
    time.sleep(3600)


POINTS: dict[str, tuple[str, Callable[..., Any]]] = {
    "a request": ("cdc_bridge.transport.client:HttpTransport.send", _for_good),
    "loading": ("cdc_bridge.payload.shared_loader:EndpointReservations.load", _for_good),
    "recording": ("cdc_bridge.pipeline.delivery_log:DeliveryLog.record", _for_good),
    "reading": ("cdc_bridge.capture.change_log:read_page", _for_good),
    "looking at the endpoints": ("cdc_bridge.runtime.lease_coordinator:LeaseCoordinator._follow_plan", _for_good),
    "the event loop": ("cdc_bridge.pipeline.dispatcher:compose", _blocking_the_loop),
}


def main() -> None:
    """Arm the point and run the daemon."""
    name, hang = POINTS[os.environ[POINT_VARIABLE]]
    owner, attribute = find(name)
    setattr(owner, attribute, hang)
    run_command()


if __name__ == "__main__":
    main()
