"""The daemon with few descriptors: ``python -m tests.faults.few_descriptors run``.

Its limit is ``CDC_BRIDGE_TEST_DESCRIPTORS``. While the file that ``CDC_BRIDGE_TEST_HOG`` names is there, something else
in the process has every descriptor that is free.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from pathlib import Path

from cdc_bridge.cli.app import main as run_command

LIMIT_VARIABLE = "CDC_BRIDGE_TEST_DESCRIPTORS"
HOG_VARIABLE = "CDC_BRIDGE_TEST_HOG"


def _hog(file: Path) -> None:
    taken: list[int] = []
    while True:
        if file.exists():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(2))
        else:
            while taken:
                os.close(taken.pop())
        time.sleep(0.005)


def main() -> None:
    """Set the limit and run the daemon."""
    limit = int(os.environ.pop(LIMIT_VARIABLE))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if (file := os.environ.pop(HOG_VARIABLE, None)) is not None:
        threading.Thread(target=_hog, args=(Path(file),), daemon=True).start()
    run_command()


if __name__ == "__main__":
    main()
