"""The daemon with a name server that stays silent: ``python -m tests.faults.silent_names run``.

Look-ups of names that begin with ``silent`` block their thread for good; all others go on as they are.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

from cdc_bridge.cli.app import main as run_command

_getaddrinfo = socket.getaddrinfo


def _look_up(host: Any, *arguments: Any, **named: Any) -> Any:
    if str(host).startswith("silent"):
        threading.Event().wait()
    return _getaddrinfo(host, *arguments, **named)


if __name__ == "__main__":
    socket.getaddrinfo = _look_up
    run_command()
