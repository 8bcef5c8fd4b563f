"""The daemon with few descriptors: ``python -m tests.faults.few_descriptors run``.

Its limit is ``CDC_BRIDGE_TEST_DESCRIPTORS``. Once the file that ``CDC_BRIDGE_TEST_HOG`` names is there, something else
in the process takes every descriptor that is free, and gives the file the suffix ``.taken``; until that one is gone.
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
TAKEN = ".taken"


def _hog(file: Path) -> None:
    descriptors: list[int] = []
    taken = file.with_suffix(TAKEN)
    while True:
        if file.exists() or taken.exists():
            with contextlib.suppress(OSError):
                while True:
                    descriptors.append(os.dup(2))
            with contextlib.suppress(FileNotFoundError):
                file.rename(taken)
        else:
            while descriptors:
                os.close(descriptors.pop())
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
