"""Work that may take long: a bar on a terminal, and an end by Ctrl-C at any moment."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress


class Shown:
    """What is shown of long work on standard error: a bar if that is a terminal, and what is waited for in any case."""

    def __init__(self, progress: Progress | None, what: str) -> None:
        """Show that nothing is done yet.

        Args:
            progress: the bar's; ``None``: there is none.
            what: the work, in a word or two.
        """
        self._progress = progress
        self._task = None if progress is None else progress.add_task(what, total=None, words="")
        self._waits_for: str | None = None

    def show(self, done: int, total: int, words: str = "", waits_for: str | None = None) -> None:
        """Show how much is done.

        Args:
            done: how much.
            total: of how much.
            words: more to say of it.
            waits_for: what keeps it from going on at present; said once, on a line of its own.
        """
        if waits_for is not None and waits_for != self._waits_for:
            self._waits_for = waits_for
            self._say(f"Waiting for {waits_for}.")
        if self._progress is not None and self._task is not None:
            words += "" if waits_for is None else ", waiting"
            self._progress.update(self._task, completed=done, total=total, words=words)

    def _say(self, line: str) -> None:
        if self._progress is None:
            typer.echo(line, err=True)
        else:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def shown(what: str) -> Iterator[Shown]:
    """Show long work while it is done."""
    if not sys.stderr.isatty():
        yield Shown(None, what)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Shown(progress, what)


def run_interruptibly(work: Coroutine[Any, Any, None], so_far: Callable[[], str]) -> None:
    """Run to the end, or until Ctrl-C; what was committed by then stays, and is told.

    Args:
        work: what to do.
        so_far: says how far it is.

    Raises:
        KeyboardInterrupt: Ctrl-C came, and all has ended.
    """
    from cdc_bridge.tasks import run_together  # noqa: PLC0415

    try:
        asyncio.run(run_together(work))
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. {so_far()}", err=True)
        raise
