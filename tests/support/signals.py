"""Ctrl-C reaches what the tests start, however the tests were started.

A shell has a command that it starts in the background ignore SIGINT, and so would everything that the command starts.
"""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
