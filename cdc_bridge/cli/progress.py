"""Progress of commands that may take long: a bar on a terminal, and an end by Ctrl-C at any moment."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cdc_bridge.tasks import run_together

_COLUMNS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(bar_width=20),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TextColumn("{task.fields[note]}", markup=False),
)


class ProgressBar:
    """A bar on standard error if that is a terminal; what the work waits for is printed in any case."""

    def __init__(self, progress: Progress | None, title: str) -> None:
        """Start at nothing done.

        Args:
            progress: The bar's display; ``None`` prints no bar.
            title: The work, in a word or two.
        """
        self._progress = progress
        self._task = None if progress is None else progress.add_task(title, total=None, note="")
        self._waiting_for: str | None = None

    def show(self, done: int, total: int, note: str = "", waiting_for: str | None = None) -> None:
        """Update the bar.

        Args:
            done: Items done.
            total: Items in all.
            note: Text behind the bar.
            waiting_for: What keeps the work from going on now; printed once, on a line of its own.
        """
        if waiting_for is not None and waiting_for != self._waiting_for:
            self._waiting_for = waiting_for
            self._print(f"Waiting for {waiting_for}.")
        if self._progress is not None and self._task is not None:
            note += "" if waiting_for is None else ", waiting"
            self._progress.update(self._task, completed=done, total=total, note=note)

    def _print(self, line: str) -> None:
        if self._progress is None:
            typer.echo(line, err=True)
        else:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(title: str) -> Iterator[ProgressBar]:
    """Show a bar while the block runs."""
    if not sys.stderr.isatty():
        yield ProgressBar(None, title)
        return
    with Progress(*_COLUMNS, console=Console(stderr=True), transient=True) as progress:
        yield ProgressBar(progress, title)


def run_interruptibly(work: Coroutine[Any, Any, None], done_so_far: Callable[[], str]) -> None:
    """Run to the end or to Ctrl-C; what was committed by then stays, and is printed.

    Args:
        work: The coroutine to run.
        done_so_far: Says what was committed.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, and everything has ended.
    """
    try:
        asyncio.run(run_together(work))
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. {done_so_far()}", err=True)
        raise


def count_reservations(number: int) -> str:
    """Return a number of reservations, in words."""
    return f"{number:,} reservation" + ("" if number == 1 else "s")
