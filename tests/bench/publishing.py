"""The published run: its figures are kept, and the tables of README and the guides are made from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.bench.cost import cost_table
from tests.bench.endpoints.table import endpoints_table
from tests.bench.endpoints.targets import RAW_COST
from tests.bench.figures import Cell, Goal, Line, Spread
from tests.bench.peers.results import read_results
from tests.bench.peers.table import markdown_table
from tests.bench.report import short_table, table
from tests.support.generated import DBA_GUIDE, OPERATOR_GUIDE, README, replace_generated_part

WRITERS_PLOT = "writers.svg"
ENDPOINTS_PLOT = "endpoints.svg"

BENCHMARK_PART = "benchmark"
COST_PART = "cost"
ENDPOINTS_PART = "endpoints"
PEERS_PART = "peers"
PEERS_FIGURES = "peers.json"

HEADLINES = {
    "one row updated, daemon absent: captured": "Update of one row, with capture",
    "commits, 16 writers, one update, daemon absent: captured": "Commits of 16 writers that only update, with capture",
    "commit to request, idle, p50": "Commit to request, median",
    "draining 50,000 changes, 64 in flight": "Delivery of a backlog, 64 requests in flight",
    "peak memory of the daemon, backlog of 1,000,000": "Memory of the daemon with a backlog of 1,000,000",
}
"""The measures that README shows, with what it calls them."""

_PUBLISHED = Path(__file__).parent / "published"
_FIGURES = _PUBLISHED / "figures.json"
_ENDPOINTS = _PUBLISHED / "endpoints.json"
_EARLIER = _PUBLISHED / "endpoints-earlier.json"
"""Figures of the version that read the log once for each endpoint, to be drawn beside those of a run."""


def published_table() -> str:
    """Return the table of all measures, for the operator guide."""
    return table(*_published(_FIGURES))


def published_headlines() -> str:
    """Return README's table: a few telling measures.

    Raises:
        KeyError: The published run lacks one of them.
    """
    conditions, lines = _published(_FIGURES)
    found = {line.measure: line for line in reversed(lines)}
    return short_table({headline: found[measure] for measure, headline in HEADLINES.items()}, conditions)


def published_cost_table() -> str:
    """Return the table of what a write costs, for the DBA guide."""
    return cost_table(*_published(_FIGURES))


def published_endpoints_table() -> str:
    """Return the table of what many endpoints cost, for the operator guide."""
    return endpoints_table(*_published(_ENDPOINTS))


def published_peers_table() -> str:
    """Return the table of the bridge beside its peers, for README; before a run is published, without figures."""
    file = _PUBLISHED / PEERS_FIGURES
    return markdown_table(read_results(file) if file.exists() else None)


def earlier_raw() -> dict[str, list[float]]:
    """Return the raw figures of the version that is shown beside this one."""
    raw: dict[str, list[float]] = json.loads(_EARLIER.read_text(encoding="utf-8"))["raw"]
    return raw


def _published(file: Path) -> tuple[dict[str, str], list[Line]]:
    figures = json.loads(file.read_text(encoding="utf-8"))
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
    """Keep a run's figures and plots beside the benchmark, and write its tables into README and the guides.

    The measure of many endpoints is published by itself if nothing else was measured, and so are the others without it.
    """
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    of_endpoints = [line for line in figures["lines"] if line["endpoints"] is not None]
    others = [line for line in figures["lines"] if line["endpoints"] is None]
    _PUBLISHED.mkdir(exist_ok=True)
    for file, lines, plot in ((_FIGURES, others, WRITERS_PLOT), (_ENDPOINTS, of_endpoints, ENDPOINTS_PLOT)):
        if lines:
            kept = {"conditions": figures["conditions"], "lines": lines}
            file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            shutil.copy(folder / plot, _PUBLISHED / plot)
    write_published_tables()


def publish_peers(file: Path) -> None:
    """Keep the figures of a run of all peers beside the benchmark, and write their table into README."""
    shutil.copy(file, _PUBLISHED / PEERS_FIGURES)
    write_published_tables()


def keep_as_earlier(folder: Path) -> None:
    """Keep what a change costs in a run, to be drawn beside that of later versions."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    costs = {name: samples for name, samples in figures["raw"].items() if name.startswith(RAW_COST)}
    kept = {"conditions": figures["conditions"], "raw": costs}
    _EARLIER.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def write_published_tables() -> None:
    """Write the tables of the kept figures into README and the guides."""
    replace_generated_part(README, BENCHMARK_PART, published_headlines())
    replace_generated_part(README, PEERS_PART, published_peers_table())
    replace_generated_part(OPERATOR_GUIDE, BENCHMARK_PART, published_table())
    replace_generated_part(OPERATOR_GUIDE, ENDPOINTS_PART, published_endpoints_table())
    replace_generated_part(DBA_GUIDE, COST_PART, published_cost_table())
