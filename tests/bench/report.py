"""The table, for people, and the figures, for programs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.figures import Goal, Line, Measured, Spread

PUBLISHED_PLOT = "writers.svg"

_PROJECT = Path(__file__).parents[2]
_README = _PROJECT / "README.md"
_PUBLISHED = Path(__file__).parent / "published"
_MARKED = re.compile(r"(<!-- made by make bench -->\n).*?(<!-- end -->)", re.DOTALL)


def write_figures(folder: Path, conditions: Mapping[str, str], measured: Sequence[Measured]) -> None:
    """Write ``table.md`` and ``figures.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line for part in measured for line in part.lines]
    figures = {
        "conditions": dict(conditions),
        "lines": [asdict(line) for line in lines],
        "raw": {name: samples for part in measured for name, samples in part.raw.items()},
    }
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(table(conditions, lines), encoding="utf-8")


def published_table() -> str:
    """Return the table of the run that README shows, made from its figures."""
    figures = json.loads((_PUBLISHED / "figures.json").read_text(encoding="utf-8"))
    return table(figures["conditions"], [_line(stored) for stored in figures["lines"]])


def _line(stored: dict[str, Any]) -> Line:
    spreads = {
        name: None if stored[name] is None else Spread(tuple(stored[name]["samples"]))
        for name in ("value", "reference_value", "ratio")
    }
    goal = None if stored["goal"] is None else Goal(**stored["goal"])
    return Line(**stored | spreads | {"goal": goal})


def table(conditions: Mapping[str, str], lines: Sequence[Line]) -> str:
    """Return the table, in Markdown."""
    under = "; ".join(f"{name}: {value}" for name, value in conditions.items())
    return "\n".join(
        [
            "| measure | median | beside it | ratio | goal |",
            "| --- | --- | --- | --- | --- |",
            *map(_row, lines),
            "",
            f"Medians, in brackets the lowest and the highest. {under[:1].upper()}{under[1:]}.",
            "",
        ]
    )


def _row(line: Line) -> str:
    value = f"{_number(line.value.median)} {line.unit}".strip()
    beside = (
        "" if line.reference_value is None else f"{_number(line.reference_value.median)} {line.unit} {line.reference}"
    )
    ratio = "" if line.ratio is None else _spread(line.ratio)
    if line.ratio is None and len(line.value.samples) > 1:
        value += f" ({_number(line.value.lowest)} to {_number(line.value.highest)})"
    goal = "" if line.goal is None else f"{line.goal}, {'reached' if line.met else '**not reached**'}"
    return f"| {line.measure} | {value} | {beside} | {ratio} | {goal} |"


def _spread(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.lowest:.2f} to {ratio.highest:.2f})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def publish(folder: Path) -> None:
    """Put the table and one plot of a run into README, and keep its figures beside the benchmark."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    del figures["raw"]
    _PUBLISHED.mkdir(exist_ok=True)
    (_PUBLISHED / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    shutil.copy(folder / PUBLISHED_PLOT, _PUBLISHED / PUBLISHED_PLOT)
    shown = f"\\g<1>\n{published_table()}\n\\g<2>"
    _README.write_text(_MARKED.sub(shown, _README.read_text(encoding="utf-8")), encoding="utf-8")
