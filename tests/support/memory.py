"""What a process takes of the machine's memory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory, where the system tells it."""
    return _of_status(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """Return the most resident memory that a process ever had, where the system tells it."""
    return _of_status(pid, "VmHWM")


def _of_status(pid: int, name: str) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        pytest.skip("needs /proc")
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
