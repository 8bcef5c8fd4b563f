"""Chooses ports for servers that are started soon."""

from __future__ import annotations

import random
import socket

_CHOICE = range(20_000, 32_768)
"""Below the ports that Linux, macOS and Windows give to outgoing connections.

One of those may be gone when the server starts, as a connection has it by then.
"""
_TRIES = 1000


def free_port() -> int:
    """Return a port of loopback that is free, and that no outgoing connection takes.

    Raises:
        OSError: None was found.
    """
    for _ in range(_TRIES - 1):
        try:
            return _tried()
        except OSError:
            continue
    return _tried()


def _tried() -> int:
    port = random.choice(_CHOICE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
    return port
