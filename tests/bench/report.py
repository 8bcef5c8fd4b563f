"""The table, for people, and the figures, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tests.bench.figures import Line, Measured, Spread


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


def table(conditions: Mapping[str, str], lines: Sequence[Line]) -> str:
    """Return the table, in Markdown."""
    return "\n".join(
        [
            "| measure | median | beside it | ratio | goal |",
            "| --- | --- | --- | --- | --- |",
            *map(_row, lines),
            "",
            measured_under(conditions),
            "",
        ]
    )


def short_table(headlines: Mapping[str, Line], conditions: Mapping[str, str]) -> str:
    """Return a table of a few lines under names of their own, for readers who know nothing of the benchmark."""
    measured, machine = conditions["measured"].partition(",")[0], conditions["machine"]
    return "\n".join(
        [
            "| measure | median | reference | ratio | goal |",
            "| --- | --- | --- | --- | --- |",
            *(_row(replace(line, measure=headline)) for headline, line in headlines.items()),
            "",
            f"Measured {measured} on {machine}, which also ran PostgreSQL, writers and receiver.",
            "",
        ]
    )


def measured_under(conditions: Mapping[str, str]) -> str:
    """Say how figures are to be read, and what they were measured on."""
    under = "; ".join(f"{name}: {value}" for name, value in conditions.items())
    return f"Medians, in brackets the lowest and the highest. {under[:1].upper()}{under[1:]}."


def _row(line: Line) -> str:
    value = f"{number(line.value.median)} {line.unit}".strip()
    beside = (
        "" if line.reference_value is None else f"{number(line.reference_value.median)} {line.unit} {line.reference}"
    )
    ratio = "" if line.ratio is None else spread(line.ratio)
    if line.ratio is None and len(line.value.samples) > 1:
        value += f" ({number(line.value.lowest)} to {number(line.value.highest)})"
    goal = "" if line.goal is None else f"{line.goal}, {'reached' if line.met else '**not reached**'}"
    return f"| {line.name} | {value} | {beside} | {ratio} | {goal} |"


def spread(ratio: Spread) -> str:
    """Return a ratio's median, lowest and highest."""
    return f"{ratio.median:.2f} ({ratio.lowest:.2f} to {ratio.highest:.2f})"


def number(value: float) -> str:
    """Return a figure with as many digits as tell something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
