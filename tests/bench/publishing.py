"""The run that README and ``sql/README.md`` show: its figures are kept, and the tables are made from them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from tests.bench.cost import cost_table
from tests.bench.figures import Cell, Goal, Line, Spread
from tests.bench.report import table

PUBLISHED_PLOT = "writers.svg"

_PROJECT = Path(__file__).parents[2]
_PUBLISHED = Path(__file__).parent / "published"


def published_table() -> str:
    """Return the table that README shows."""
    return table(*_published())


def published_cost_table() -> str:
    """Return the table that ``sql/README.md`` shows."""
    return cost_table(*_published())


def _published() -> tuple[dict[str, str], list[Line]]:
    figures = json.loads((_PUBLISHED / "figures.json").read_text(encoding="utf-8"))
    return figures["conditions"], [_line(stored) for stored in figures["lines"]]


def _line(stored: dict[str, Any]) -> Line:
    spreads = {
        name: None if stored[name] is None else Spread(tuple(stored[name]["samples"]))
        for name in ("value", "reference_value", "ratio")
    }
    goal = None if stored["goal"] is None else Goal(**stored["goal"])
    cell = None if stored["cell"] is None else Cell(**stored["cell"])
    return Line(**stored | spreads | {"goal": goal, "cell": cell})


def publish(folder: Path) -> None:
    """Put a run's tables and its plot into README and ``sql/README.md``, and keep its figures beside the benchmark."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    del figures["raw"]
    _PUBLISHED.mkdir(exist_ok=True)
    (_PUBLISHED / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    shutil.copy(folder / PUBLISHED_PLOT, _PUBLISHED / PUBLISHED_PLOT)
    _show(published_table(), _PROJECT / "README.md", "made by make bench")
    _show(published_cost_table(), _PROJECT / "sql" / "README.md", "made by make bench: cost")


def _show(shown: str, file: Path, mark: str) -> None:
    marked = re.compile(rf"(<!-- {re.escape(mark)} -->\n).*?(<!-- end -->)", re.DOTALL)
    text, found = marked.subn(lambda marks: f"{marks[1]}\n{shown}\n{marks[2]}", file.read_text(encoding="utf-8"))
    if found != 1:
        raise RuntimeError(f"{file} has to have one place that is marked: {mark}")
    file.write_text(text, encoding="utf-8")
