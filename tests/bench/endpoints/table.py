"""The table of what many endpoints cost: a row for each measure, a column for each number of endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.figures import Line
from tests.bench.report import measured_under, number

_READ_AS = (
    "A ratio is to one endpoint in the same run, of the other 99 % to none stalled; the figure itself stands in "
    "brackets. Behind it is the goal, in bold if it is not reached."
)


def endpoints_table(conditions: Mapping[str, str], lines: Sequence[Line]) -> str:
    """Return the table, in Markdown."""
    found = {(line.measure, line.endpoints): line for line in lines if line.endpoints}
    sizes = sorted({size for _, size in found})
    measures = dict.fromkeys(measure for measure, _ in found)
    return "\n".join(
        [
            _row(["measure", *(f"{size:,}" for size in sizes)]),
            _row(["---"] * (1 + len(sizes))),
            *(_row([measure, *(_cell(found.get((measure, size))) for size in sizes)]) for measure in measures),
            "",
            _READ_AS,
            "",
            measured_under(conditions),
            "",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(line: Line | None) -> str:
    if line is None:
        return ""
    value = f"{number(line.value.median)} {line.unit}"
    figure = value if line.ratio is None else f"{line.ratio.median:.2f} ({value})"
    if line.goal is None:
        return figure
    return f"{figure}, {line.goal}" if line.met else f"{figure}, **{line.goal}**"
