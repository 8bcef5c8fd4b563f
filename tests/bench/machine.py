"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench.receiver import nginx_program
from tests.bench.scale import FULL, Scale
from tests.bench.stage import POSTGRES_SETTINGS, RESERVATIONS

_LIBRARIES = ("aiohttp", "uvloop", "psycopg", "orjson")


def conditions(postgres_version: str, scale: Scale) -> dict[str, str]:
    """Return what a reader has to know of the machine, the versions and the settings."""
    cores = f"{len(os.sched_getaffinity(0))} cores of {_processor()}"
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return {
        "measured": f"{datetime.now(UTC):%Y-%m-%d}, {'all of it' if scale == FULL else 'in short'}",
        "machine": f"{cores}, {_memory_gigabytes():.0f} GB, {platform.system()}",
        "on them": "PostgreSQL, writers, daemon and receiver",
        "postgresql": f"{postgres_version}, {', '.join(f'{name}={text}' for name, text in POSTGRES_SETTINGS.items())}",
        "data": f"the example e-Res with {RESERVATIONS:,} reservations",
        "daemon": f"Python {platform.python_version()}, {libraries}",
        "receiver": _receiver(),
        "rounds": f"{scale.rounds}; of many endpoints: {scale.endpoint_rounds}",
        "load average before": f"{os.getloadavg()[1]:.1f}",
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory_gigabytes() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _receiver() -> str:
    program = nginx_program()
    if program is None:
        return "of our own, in Python, which takes part of what the daemon could have; nginx is not installed"
    told = subprocess.run([program, "-v"], check=True, capture_output=True, text=True).stderr
    return f"{told.rpartition(': ')[2].strip()}, 204 to everything, over TLS"
