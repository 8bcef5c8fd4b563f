"""The console on which tables are printed."""

from __future__ import annotations

from rich.console import Console


def table_console() -> Console:
    """Return the console. Where there is no terminal, no cell is wrapped: a line is a line, for grep."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=300)
