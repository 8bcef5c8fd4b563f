"""Notifies systemd: ready, alive, reloading, stopping, and the daemon's status in one line.

Reference: sd_notify(3) and systemd.service(5), ``Type=notify``. Without ``NOTIFY_SOCKET`` in the environment nothing is
sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint

_STATUS_AT_MOST_EVERY_SECONDS = 1.0


class ServiceManager:
    """The service manager that started the daemon."""

    def __init__(self, address: str | None = None) -> None:
        """Prepare to notify.

        Args:
            address: Address of its socket; default: ``NOTIFY_SOCKET``. A leading @ marks an abstract socket.
        """
        address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = ""
        self._status_at = float("-inf")

    def ready(self) -> None:
        """Notify that the daemon is up, or that a reload has ended."""
        self._notify("READY=1")

    def alive(self) -> None:
        """Feed systemd's watchdog."""
        self._notify("WATCHDOG=1")

    def reloading(self) -> None:
        """Notify that the settings are being reloaded."""
        self._notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Notify that the daemon is stopping."""
        self._notify("STOPPING=1")

    def status(self, line: str) -> None:
        """Set the line that ``systemctl status`` shows; sent once, however often it is set."""
        now = time.monotonic()
        if line != self._status and now - self._status_at >= _STATUS_AT_MOST_EVERY_SECONDS:
            self._status, self._status_at = line, now
            self._notify(f"STATUS={line}")

    def _notify(self, *lines: str) -> None:
        if not self._address:
            return
        # A service manager that does not listen is no reason to fail or to wait.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.connect(self._address)
            channel.send("\n".join(lines).encode())


def status_line(leased: Sequence[LeasedEndpoint], *, database_lost: bool, fallen_back: bool) -> str:
    """Return the daemon's status in one line.

    Args:
        leased: The endpoints that it leases.
        database_lost: Whether the database is away.
        fallen_back: Whether it polls because it gets no notifications.
    """
    if database_lost:
        return "Waiting for the database"
    if not leased:
        return "Idle: no endpoint assigned"
    parts = [_endpoint_status(one) for one in sorted(leased, key=lambda one: one.endpoint.name)]
    return "; ".join(parts) + ("; polling, as notifications do not arrive" if fallen_back else "")


def _endpoint_status(leased: LeasedEndpoint) -> str:
    name, state, oldest = leased.endpoint.name, leased.pipeline.state, leased.pipeline.oldest_in_hand
    if state.failing_since is not None:
        return f"{name} is failing since {state.failing_since:%H:%M:%S} UTC ({state.problem})"
    if oldest is not None:
        return f"{name} is {max(0.0, (datetime.now(UTC) - oldest).total_seconds()):.0f} s behind"
    return f"{name} is up to date" + (", rejected deliveries are retrying" if leased.pipeline.has_retrying else "")
