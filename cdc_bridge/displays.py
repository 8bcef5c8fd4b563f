"""Coloured lines, tables and progress bars. Apart from the console, because importing rich takes as long as ``--help``.

Every text becomes a :class:`Line` or a cell here, and is escaped then: before its width is measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cdc_bridge.escaping import escaped

Piece = str | tuple[str, str]
"""A text, or a text and its style."""
Display = Text | Table
"""A line or a table, already escaped."""
Columns = Mapping[str, Literal["left", "right"]]
"""Heading and side of each column."""

_WIDTH_WITHOUT_TERMINAL = 300


def line(*pieces: Piece) -> Text:
    """Return a line."""
    return Text.assemble(*((escaped(text), style) for text, style in map(_with_style, pieces)))


def table(columns: Columns, rows: Iterable[Sequence[Piece]]) -> Table:
    """Return a table; without any heading, none is shown."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_header=any(map(str.strip, columns)))
    for heading, side in columns.items():
        made.add_column(heading, overflow="fold", justify=side)
    for row in rows:
        made.add_row(*map(line, row))
    return made


def print_styled(*pieces: Piece) -> None:
    """Print a line."""
    show(line(*pieces))


def show(*displays: Display) -> None:
    """Print lines and tables."""
    console = _console()
    for each in displays:
        console.print(each, soft_wrap=isinstance(each, Text))


@contextmanager
def redrawn() -> Iterator[Callable[[Sequence[Display]], None]]:
    """Print again and again: in place on a terminal, elsewhere one after the other."""
    console = _console()
    if not console.is_terminal:
        yield lambda displays: show(*displays)
        return
    with Live(console=console, auto_refresh=False, screen=False) as live:
        yield lambda displays: live.update(Group(*displays), refresh=True)


class Bar:
    """A progress bar on standard error."""

    def __init__(self, progress: Progress, title: str) -> None:
        """Start at nothing done."""
        self._progress = progress
        self._task = progress.add_task(escaped(title), total=None, note="")

    def update(self, done: int, total: int, note: str) -> None:
        """Draw it anew."""
        self._progress.update(self._task, completed=done, total=total, note=escaped(note))

    def print_above(self, text: str) -> None:
        """Print a line above it."""
        self._progress.console.print(line(text), soft_wrap=True)


@contextmanager
def bar(title: str) -> Iterator[Bar | None]:
    """Show a progress bar while the block runs; ``None``: standard error is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress, title)


def _console() -> Console:
    # Where there is no terminal, no cell is wrapped: a line is a line, for grep.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)


def _with_style(piece: Piece) -> tuple[str, str]:
    return (piece, "") if isinstance(piece, str) else piece
