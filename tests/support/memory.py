"""What a process takes of the machine's memory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory, where the system tells it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        pytest.skip("needs /proc")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
