"""Install the packages of a lock file, and say how far it is: ``python tests/support/install_locked.py LOCK``.

``make`` runs it before anything is installed, so it needs nothing but Python and pip. pip says what it fetches, and
then nothing while it unpacks: that is counted.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Event, Thread

_A_LINE_EVERY_SECONDS = 5.0
"""Where lines are kept, as in a log. A terminal has one that changes."""
_LOOK_EVERY_SECONDS = 0.2
_PACKAGE = re.compile(r"^([a-z0-9][a-z0-9._-]*)==", re.MULTILINE)
_FETCHED = re.compile(
    r"(?:Collecting |Requirement already satisfied: |Processing \S*/)(\w[\w.-]*?)(?:-\d.*\.whl)?(?=[=\s])"
)


class Progress:
    """One line of progress."""

    def __init__(self) -> None:
        self._on_terminal = sys.stdout.isatty()
        self._shown, self._shown_at = "", time.monotonic()

    def show(self, text: str) -> None:
        """Show how far it is."""
        if text == self._shown:
            return
        if self._on_terminal:
            sys.stdout.write(f"\r\x1b[K{text}")
        elif time.monotonic() - self._shown_at < _A_LINE_EVERY_SECONDS:
            return
        else:
            sys.stdout.write(f"{text}\n")
        self._shown, self._shown_at = text, time.monotonic()
        sys.stdout.flush()

    def end(self, text: str) -> None:
        """Show how it ended."""
        sys.stdout.write(f"\r\x1b[K{text}\n" if self._on_terminal else f"{text}\n")
        sys.stdout.flush()


def follow(lines: Iterable[str], total: int, progress: Progress, ended: Event) -> None:
    """Read what pip says, until it ends.

    Args:
        lines: Its output.
        total: How many packages the lock file has.
        progress: Shows how far it is.
        ended: Set once it has ended.
    """
    fetched = 0
    for line in lines:
        if line.startswith("Ignoring "):  # It is for another system.
            total -= 1
        elif found := _FETCHED.match(line):
            fetched += 1
            progress.show(f"  fetched {fetched} of {total} packages: {found[1]}")
        elif line.startswith("Installing collected packages:"):
            count = line.count(",") + 1
            Thread(target=_count_unpacked, args=(count, progress, ended), daemon=True).start()


def _count_unpacked(count: int, progress: Progress, ended: Event) -> None:
    before = _installed()
    while not ended.wait(_LOOK_EVERY_SECONDS):
        progress.show(f"  unpacked {min(len(_installed() - before), count)} of {count} packages")


def _installed() -> set[Path]:
    return set(Path(sysconfig.get_path("purelib")).glob("*.dist-info"))


def main() -> None:
    """Install; end with pip's exit code."""
    lock = sys.argv[1]
    total = len(_PACKAGE.findall(Path(lock).read_text(encoding="utf-8")))
    progress, ended, began = Progress(), Event(), time.monotonic()
    progress.end(f"Installing the packages of {lock}")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    with subprocess.Popen(
        [*pip, "--require-hashes", "-r", lock], stdout=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        try:
            follow(process.stdout, total, progress, ended)
        finally:
            ended.set()
    if process.returncode == 0:
        progress.end(f"  {lock} is installed, after {time.monotonic() - began:.0f} s.")
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
