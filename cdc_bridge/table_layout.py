"""Lays a table out in the width that there is, without breaking a word. Pure: texts in, lines out.

What does not fit is not cut off, it goes elsewhere:

* Cells of prose wrap between words, and so do headings.
* Columns that still have no room stand below their row, each with its heading, and wrap together.
* A first cell much longer than others, such as a name of 63 characters, has a line of its own above its row.

Only a word that is longer than a whole line is broken: behind a separator, if it has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Cell = tuple[str, str]
"""A text that is escaped already, and its style."""
Line = list[Cell]
Width = Callable[[str], int]
"""Returns how many columns of a terminal a text takes."""

_GAP = 2
_INDENT = "  "
_BETWEEN = " · "
_PROSE = 24
"""Columns that a cell of several words wants at least."""
_LARGEST_PART = 3
"""A column that needs more than this part of the width goes below first."""
_SEPARATORS = re.compile(r"(?<=[/,;&?=@:._-])")


@dataclass(frozen=True, slots=True)
class TableTexts:
    """What a table shows."""

    columns: Mapping[str, Literal["left", "right"]]
    """Heading and side of each column."""
    rows: Sequence[Sequence[Cell]]
    below: Sequence[str] = ()
    """Headings of the columns that may stand below their row, the first ones before others."""


def lay_out(texts: TableTexts, width: int | None, width_of: Width) -> Iterator[Line]:
    """Yield the lines of a table.

    Args:
        texts: What it shows.
        width: Columns of the terminal; ``None``: as many as it takes, each row on one line.
        width_of: Returns how many of them a text takes.
    """
    headings = list(texts.columns)
    if width is None:
        widths = [max(width_of(text) for text in column) for column in _columns_of(texts)]
        in_line, key_limit = list(range(len(headings))), None
    else:
        in_line, widths, key_limit = _fit(texts, width, width_of)
    below = [index for index in range(len(headings)) if index not in in_line]
    sides = [list(texts.columns.values())[index] for index in in_line]
    if any(map(str.strip, headings)):
        cells = [(headings[index], "bold") for index in in_line]
        yield from _beside(cells, widths, sides, width_of)
    for row in texts.rows:
        cells = [row[index] for index in in_line]
        key, style = cells[0]
        if key_limit is not None and width is not None and width_of(key) > key_limit:
            for part in wrap(key, width, width_of):
                yield [(part, style)]
            cells[0] = ("", "")
        if any(text for text, _ in cells):
            yield from _beside(cells, widths, sides, width_of)
        noted = _BETWEEN.join(f"{headings[index]}: {row[index][0]}" for index in below if row[index][0])
        if noted and width is not None:
            for part in wrap(noted, width - len(_INDENT), width_of):
                yield [(_INDENT + part, "dim")]


def wrap(text: str, width: int, width_of: Width) -> list[str]:
    """Return the lines of a text; a word longer than a line is broken behind a separator, or else anywhere."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        if width_of(word) > width:
            *full, line = _broken(f"{line} {word}".lstrip() if line else word, width, width_of)
            lines += full
        elif not line:
            line = word
        elif width_of(line) + 1 + width_of(word) <= width:
            line = f"{line} {word}"
        else:
            lines.append(line)
            line = word
    return [*lines, line]


def _broken(text: str, width: int, width_of: Width) -> list[str]:
    lines = [""]
    for part in _SEPARATORS.split(text):
        pieces = [part] if width_of(part) <= width else list(part)
        for piece in pieces:
            if lines[-1] and width_of(lines[-1]) + width_of(piece) > width:
                lines.append("")
            lines[-1] += piece
    return lines


def _columns_of(texts: TableTexts) -> Iterator[list[str]]:
    for index, heading in enumerate(texts.columns):
        yield [heading, *(row[index][0] for row in texts.rows)]


def _fit(texts: TableTexts, width: int, width_of: Width) -> tuple[list[int], list[int], int | None]:
    """Return which columns stand in a row, how wide each is, and from which width on a first cell stands above it."""
    headings = list(texts.columns)
    columns = list(_columns_of(texts))
    natural = [max(width_of(text) for text in column) for column in columns]
    key_limit = None
    if sum(natural) + _GAP * (len(natural) - 1) > width and natural[0] > width // _LARGEST_PART:
        key_limit = width // _LARGEST_PART
        natural[0] = max(width_of(text) for text in columns[0] if width_of(text) <= key_limit)
    least = [_least(column, most, width_of) for column, most in zip(columns, natural, strict=True)]
    least[0] = natural[0]
    in_line = list(range(len(headings)))
    candidates = [headings.index(name) for name in texts.below]
    candidates += [index for index in range(len(headings) - 1, 0, -1) if index not in candidates]
    wide = [index for index in candidates if least[index] > width // _LARGEST_PART]
    wide.sort(key=lambda index: -least[index])
    for index in (*wide, *(index for index in candidates if index not in wide)):
        if sum(least[each] for each in in_line) + _GAP * (len(in_line) - 1) <= width:
            break
        in_line.remove(index)
    spare = width - sum(least[each] for each in in_line) - _GAP * (len(in_line) - 1)
    widths = []
    for each in in_line:
        more = min(max(spare, 0), natural[each] - least[each])
        widths.append(least[each] + more)
        spare -= more
    return in_line, widths, key_limit


def _least(column: Sequence[str], natural: int, width_of: Width) -> int:
    heading, *cells = column
    of_words = max((width_of(word) for text in column for word in text.split(" ")), default=0)
    prose = any(len(text.split(" ")) > 3 for text in cells)
    if prose:
        return min(natural, max(of_words, _PROSE))
    # What is short, such as a time or "5 min ago", stays on one line; its heading need not.
    of_heading = max(width_of(word) for word in heading.split(" "))
    return max([of_heading, *(width_of(text) for text in cells)])


def _beside(cells: Sequence[Cell], widths: Sequence[int], sides: Sequence[str], width_of: Width) -> Iterator[Line]:
    wrapped = [wrap(text, width, width_of) for (text, _), width in zip(cells, widths, strict=True)]
    for number in range(max(map(len, wrapped))):
        line: Line = []
        for (_, style), lines, width, side in zip(cells, wrapped, widths, sides, strict=True):
            text = lines[number] if number < len(lines) else ""
            space = " " * (width - width_of(text))
            before = " " * _GAP if line else ""
            line += (
                [(before + space, ""), (text, style)] if side == "right" else [(before, ""), (text, style), (space, "")]
            )
        while line and not line[-1][0].strip():
            line.pop()
        yield line
