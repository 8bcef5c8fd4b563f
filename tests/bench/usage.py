"""What processes use up, as the kernel tells it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
"""How finely the kernel tells it for a process and its children; for a process alone it tells nanoseconds."""
_SCHEDULED = 2
"""Kind of the clock of another process (clock_getcpuclockid)."""


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used, its threads that have ended among them."""
    return time.clock_gettime(~pid << 3 | _SCHEDULED)


def family_processor_seconds(pid: int) -> float:
    """Return the processor time that a process and its children have used, those that have ended among them."""
    used = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = stat.read_text(encoding="ascii", errors="replace").partition(" ")
        except OSError:
            continue  # It has ended just now.
        fields = rest.rpartition(")")[2].split()
        if int(number) == pid:
            used += sum(map(int, fields[11:15]))
        elif int(fields[1]) == pid:
            used += sum(map(int, fields[11:13]))
    return used / _TICKS_A_SECOND


def peak_megabytes(pid: int) -> float:
    """Return the most memory that a process has had."""
    return _megabytes(pid, "VmHWM")


def resident_megabytes(pid: int) -> float:
    """Return the memory that a process has now."""
    return _megabytes(pid, "VmRSS")


def _megabytes(pid: int, of: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"^{of}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1000


class Usage:
    """What a daemon and PostgreSQL have used up since this was made."""

    def __init__(self, postgres_pid: int, daemon_pid: int) -> None:
        self._postgres_pid = postgres_pid
        self._daemon_pid = daemon_pid
        self._postgres_before = family_processor_seconds(postgres_pid)
        self._daemon_before = processor_seconds(daemon_pid)
        self.daemon_seconds = 0.0
        self.postgres_seconds = 0.0
        self.peak_megabytes = 0.0

    def note(self) -> None:
        """Look, while the daemon still runs."""
        self.daemon_seconds = processor_seconds(self._daemon_pid) - self._daemon_before
        self.postgres_seconds = family_processor_seconds(self._postgres_pid) - self._postgres_before
        self.peak_megabytes = peak_megabytes(self._daemon_pid)
