"""Tells systemd how the daemon is: ready, alive, what it does in one line, reloading, stopping.

Reference: sd_notify(3) and systemd.service(5), ``Type=notify``. Without ``NOTIFY_SOCKET`` in the environment nobody
is told anything.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

_STATUS_AT_MOST_EVERY_SECONDS = 1.0


class ServiceManager:
    """The way to whoever started the daemon."""

    def __init__(self, address: str | None = None) -> None:
        """Prepare to tell.

        Args:
            address: of its socket; default: what ``NOTIFY_SOCKET`` says. A leading @ is that of an abstract one.
        """
        address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = ""
        self._status_at = float("-inf")

    def __bool__(self) -> bool:
        """Whether there is a service manager."""
        return bool(self._address)

    def ready(self) -> None:
        """Tell that the daemon is up, or that a reload has ended."""
        self._tell("READY=1")

    def alive(self) -> None:
        """Tell that the daemon was looked at and moves; for systemd's watchdog."""
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """Tell that the settings are being read anew."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Tell that the daemon ends."""
        self._tell("STOPPING=1")

    def status(self, line: str) -> None:
        """Tell what the daemon does, for ``systemctl status``; once, however often it is said."""
        now = time.monotonic()
        if line != self._status and now - self._status_at >= _STATUS_AT_MOST_EVERY_SECONDS:
            self._status, self._status_at = line, now
            self._tell(f"STATUS={line}")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # A manager that does not listen is no reason to fail, nor to wait.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
            way.setblocking(False)
            way.connect(self._address)
            way.send("\n".join(lines).encode())
