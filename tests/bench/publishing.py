"""The published run: its figures are kept, and the tables of README and the guides are made from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.bench.cost import cost_table
from tests.bench.figures import Cell, Goal, Line, Spread
from tests.bench.report import short_table, table
from tests.support.generated import DBA_GUIDE, OPERATOR_GUIDE, README, replace_generated_part

PUBLISHED_PLOT = "writers.svg"

BENCHMARK_PART = "benchmark"
COST_PART = "cost"

HEADLINES = {
    "one row updated, daemon absent: captured": "Update of one row, with capture",
    "commits, 16 writers, one update, daemon absent: captured": "Commits of 16 writers that only update, with capture",
    "commit to request, idle, p50": "Commit to request, median",
    "draining 50,000 changes, 64 in flight": "Delivery of a backlog, 64 requests in flight",
    "peak memory of the daemon, backlog of 1,000,000": "Memory of the daemon with a backlog of 1,000,000",
}
"""The measures that README shows, with what it calls them."""

_PUBLISHED = Path(__file__).parent / "published"


def published_table() -> str:
    """Return the table of all measures, for the operator guide."""
    return table(*_published())


def published_headlines() -> str:
    """Return README's table: a few telling measures.

    Raises:
        KeyError: The published run lacks one of them.
    """
    conditions, lines = _published()
    found = {line.measure: line for line in reversed(lines)}
    return short_table({headline: found[measure] for measure, headline in HEADLINES.items()}, conditions)


def published_cost_table() -> str:
    """Return the table of what a write costs, for the DBA guide."""
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
    """Keep a run's figures and plot beside the benchmark, and write its tables into README and the guides."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    del figures["raw"]
    _PUBLISHED.mkdir(exist_ok=True)
    (_PUBLISHED / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    shutil.copy(folder / PUBLISHED_PLOT, _PUBLISHED / PUBLISHED_PLOT)
    write_published_tables()


def write_published_tables() -> None:
    """Write the tables of the kept figures into README and the guides."""
    replace_generated_part(README, BENCHMARK_PART, published_headlines())
    replace_generated_part(OPERATOR_GUIDE, BENCHMARK_PART, published_table())
    replace_generated_part(DBA_GUIDE, COST_PART, published_cost_table())
