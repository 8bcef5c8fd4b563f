"""The DBA's table: what a write costs with capture, by what it is and by what the daemon does meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.figures import Cell, Line
from tests.bench.report import measured_under, number, spread

_DAEMON = {
    "absent": "there is none",
    "asleep": (
        "a session holds the lock of a sleeping daemon throughout, so that every commit sends a NOTIFY; that is the "
        "worst case: a daemon sleeps until the first commit only, and not again before it has nothing left to do"
    ),
    "busy": "it delivers all the time, on the same processors",
}
_READ_AS = (
    "Ratios to the same write without triggers. A time includes the COMMIT, but not the wait for the disk; the time "
    "that capture adds stands beside the ratio."
)
_TIMES = ("µs", "ms")


def cost_table(conditions: Mapping[str, str], lines: Sequence[Line]) -> str:
    """Return the table, in Markdown: a row for each kind of write that was measured."""
    found = {line.cell: line for line in lines if line.cell is not None}
    rows = [[write, *(_cell(found.get(Cell(write, daemon))) for daemon in _DAEMON)] for write in _writes(found)]
    meanwhile = "; ".join(f"{daemon}: {what}" for daemon, what in _DAEMON.items())
    return "\n".join(
        [
            _row(["what is written", *(f"daemon {daemon}" for daemon in _DAEMON)]),
            _row(["---"] * (1 + len(_DAEMON))),
            *map(_row, rows),
            "",
            f"{_READ_AS} The daemon is {meanwhile}.",
            "",
            measured_under(conditions),
            "",
        ]
    )


def _writes(found: Mapping[Cell, Line]) -> list[str]:
    return list(dict.fromkeys(cell.write for cell in found))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(line: Line | None) -> str:
    if line is None or line.ratio is None:
        return ""
    more = line.more.median
    added = f", {'+' if more > 0 else ''}{number(more)} {line.unit}" if line.unit in _TIMES else ""
    return spread(line.ratio) + added
