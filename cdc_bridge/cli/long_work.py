"""Work that may take long: a bar on a terminal, and an end by Ctrl-C at any moment."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import typer

Show = Callable[[int, int | None, str], None]
"""Shows how much is done of how much, and a few words."""


@contextmanager
def progress_bar(what: str) -> Iterator[Show]:
    """Show a bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total, words: None  # noqa: ARG005
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None, words="")
        yield lambda done, total, words: progress.update(task, completed=done, total=total, words=words)


class WaitingWords:
    """Says what long work waits for: in the bar, and where there is none, once on a line of its own."""

    def __init__(self) -> None:
        self._said: str | None = None

    def told(self, waits_for: str | None) -> str:
        """Return the words for the bar; empty: it does not wait."""
        if waits_for is None:
            return ""
        if waits_for != self._said and not sys.stderr.isatty():
            typer.echo(f"Waiting for {waits_for}.", err=True)
        self._said = waits_for
        return f"; waiting for {waits_for}"


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
