"""Coloured lines, tables and progress bars. Apart from the console, because importing rich takes as long as ``--help``.

Every text becomes a :class:`Line` or a cell here, and is escaped then: before its width is measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from cdc_bridge.escaping import escaped
from cdc_bridge.table_layout import TableTexts, lay_out, wrap

Piece = str | tuple[str, str]
"""A text, or a text and its style."""
Columns = Mapping[str, Literal["left", "right"]]
"""Heading and side of each column."""

_LONG_TABLE = 500
"""Rows from which on a table has no colours."""


def line(*pieces: Piece) -> Text:
    """Return a line."""
    return Text.assemble(*((escaped(text), style) for text, style in map(_with_style, pieces)))


class TableDisplay:
    """A table, which takes the width that there is."""

    def __init__(self, texts: TableTexts) -> None:
        self._texts = texts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield its lines, for rich: on a terminal within its width, elsewhere a row on a line."""
        yield self.text(options.max_width if console.is_terminal else None)

    def text(self, width: int | None) -> Text:
        """Return it with line breaks."""
        lines = lay_out(self._texts, width, cell_len)
        if len(self._texts.rows) > _LONG_TABLE:  # rich takes a millisecond for each row with a style.
            return Text("\n".join("".join(text for text, _ in each) for each in lines))
        return Text("\n").join(Text.assemble(*each) for each in lines)


Display = Text | TableDisplay
"""A line or a table, already escaped."""


def table(columns: Columns, rows: Iterable[Sequence[Piece]], below: Sequence[str] = ()) -> Display:
    """Return a table; without any heading, none is shown.

    Args:
        columns: Heading and side of each column.
        rows: Their cells.
        below: Headings of the columns that may stand below their row where there is no room, the first before others.
    """
    cells = [[(escaped(text), style) for text, style in map(_with_style, row)] for row in rows]
    return TableDisplay(TableTexts(columns, cells, below))


def print_labelled(lines: Iterable[tuple[str, str]]) -> None:
    """Print labels and values, a line each; on a terminal a value wraps beside its label."""
    console = _console()
    lines = [(escaped(label), escaped(value)) for label, value in lines]
    width = max(cell_len(label) for label, _ in lines) + 2
    for label, value in lines:
        room = console.width - width
        parts = wrap(value, room, cell_len) if console.is_terminal and room > 0 else [value]
        for number, part in enumerate(parts):
            shown = label + " " * (width - cell_len(label)) if number == 0 else " " * width
            console.print(Text.assemble((shown, "bold"), part), soft_wrap=True)


def print_wrapped(text: str) -> None:
    """Print a line; on a terminal it wraps between words."""
    show(line(text))


def print_beside(*label: Piece, text: str) -> None:
    """Print a label and a text; on a terminal the text wraps beside it."""
    console, head = _console(), line(*label)
    room = console.width - head.cell_len
    first, *more = wrap(escaped(text), room, cell_len) if console.is_terminal and room > 0 else [escaped(text)]
    for part in (head + first, *(" " * head.cell_len + part for part in more)):
        console.print(part, soft_wrap=True)


def print_styled(*pieces: Piece) -> None:
    """Print a line, however long: a terminal wraps it, and a command in it can be copied."""
    _console().print(line(*pieces), soft_wrap=True)


def show(*displays: Display) -> None:
    """Print lines and tables; on a terminal a line wraps between words."""
    console = _console()
    for each in displays:
        text = each.text(console.width if console.is_terminal else None) if isinstance(each, TableDisplay) else each
        console.print(text, soft_wrap=not console.is_terminal or isinstance(each, TableDisplay))


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
    return Console(highlight=False)


def _with_style(piece: Piece) -> tuple[str, str]:
    return (piece, "") if isinstance(piece, str) else piece
