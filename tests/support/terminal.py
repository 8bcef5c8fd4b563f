"""Commands on a terminal: what somebody sees who types them."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys

from tests.support.bridge import clean_environment
from tests.support.waiting import PATIENCE_SECONDS

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


async def lines_on_terminal(columns: int, *arguments: str, **settings: str) -> list[str]:
    """Run a ``cdc-bridge`` command on a terminal; return the lines that it shows, without their colours."""
    return await asyncio.to_thread(_run, columns, arguments, settings)


def _run(columns: int, arguments: tuple[str, ...], settings: dict[str, str]) -> list[str]:
    environment = clean_environment(settings | {"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color"})
    outer, inner = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "cdc_bridge", *arguments], env=environment, stdin=inner, stdout=inner, stderr=inner
    ) as process:
        os.close(inner)
        shown = _read(outer)
        os.close(outer)
        process.wait(PATIENCE_SECONDS)
    return _STYLE.sub("", shown.decode()).replace("\r\n", "\n").splitlines()


def _read(outer: int) -> bytes:
    """Return all that is written to a terminal, until nobody has it open."""
    shown = b""
    while True:
        try:
            piece = os.read(outer, 65_536)
        except OSError:  # Linux says so.
            return shown
        if not piece:
            return shown
        shown += piece
