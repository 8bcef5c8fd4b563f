"""Notifies systemd: ready, alive, reloading, stopping, and the daemon's status in one line.

Reference: sd_notify(3) and systemd.service(5), ``Type=notify``. Without ``NOTIFY_SOCKET`` in the environment nothing is
sent.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from cdc_bridge.escaping import escaped

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

    def __bool__(self) -> bool:
        """Whether there is a service manager."""
        return bool(self._address)

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
            self._notify(f"STATUS={escaped(line)}")

    def _notify(self, *lines: str) -> None:
        if not self._address:
            return
        # A manager that does not listen is no reason to fail, nor to wait.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
            way.setblocking(False)
            way.connect(self._address)
            way.send("\n".join(lines).encode())
