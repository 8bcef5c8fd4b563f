"""The plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench.endpoints.targets import RAW_COST
from tests.bench.figures import Line, Measured, Spread
from tests.bench.publishing import ENDPOINTS_PLOT, WRITERS_PLOT, earlier_raw

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "cdc-bridge",  # the same figures make the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_CAPTURES = {
    "bridge": ("cdc-bridge, no daemon", "tab:blue", "-"),
    "bridge, asleep": ("cdc-bridge, a daemon that never wakes", "tab:blue", "--"),
    "bridge, busy": ("cdc-bridge, a daemon that delivers", "tab:blue", ":"),
    "empty": ("such a trigger that does nothing", "tab:gray", "-"),
    "naive": ("row trigger with NOTIFY", "tab:red", "-"),
}


def write_plots(folder: Path, measured: Sequence[Measured]) -> None:
    """Draw what there are figures for."""
    raw = {name: samples for part in measured for name, samples in part.raw.items()}
    goals = [line for part in measured for line in part.lines if line.ratio is not None and line.goal is not None]
    with mpl.rc_context(_STYLE):
        if writers := {name: samples for name, samples in raw.items() if name.startswith("one update, ")}:
            _save(_writers(writers), folder / WRITERS_PLOT)
        if times := {name: samples for name, samples in raw.items() if name.count(", ") == 1}:
            _save(_times(times), folder / "latency.svg")
        if costs := _costs(raw):
            _save(_cost_of_a_change(costs, _costs(earlier_raw())), folder / ENDPOINTS_PLOT)
        if goals:
            _save(_goals(goals), folder / "goals.svg")


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None}, bbox_inches="tight")


def _writers(raw: Mapping[str, Sequence[float]]) -> Figure:
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    counts = sorted({int(name.rpartition(", ")[2]) for name in raw})
    for capture, (label, colour, style) in _CAPTURES.items():
        spreads = [Spread(tuple(raw[f"one update, {capture}, {count}"])) for count in counts]
        medians = [spread.median for spread in spreads]
        errors = [
            [spread.median - spread.lowest for spread in spreads],
            [spread.highest - spread.median for spread in spreads],
        ]
        axes.errorbar(
            range(len(counts)), medians, errors, label=label, color=colour, linestyle=style, marker="o", capsize=3
        )
    axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(counts)), [str(count) for count in counts])
    axes.set_xlabel("writers at once, each committing one update after the other")
    axes.set_ylabel("commits, as part of those\nwithout any trigger")
    axes.set_ylim(0, 1.1)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _times(raw: Mapping[str, Sequence[float]]) -> Figure:
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    for name, samples in raw.items():
        ordered = sorted(samples)
        axes.plot(ordered, [100 * (place + 1) / len(ordered) for place in range(len(ordered))], label=name)
    axes.set_xscale("log")
    ticks = (0.5, 1, 2, 5, 10, 20)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("milliseconds from COMMIT to the request")
    axes.set_ylabel("% of changes")
    axes.legend(frameon=False, loc="center right")
    return figure


def _costs(raw: Mapping[str, Sequence[float]]) -> dict[int, Spread]:
    """Return what a change costs, by the number of endpoints."""
    return {
        int(name.removeprefix(RAW_COST)): Spread(tuple(samples))
        for name, samples in raw.items()
        if name.startswith(RAW_COST)
    }


def _cost_of_a_change(costs: Mapping[int, Spread], earlier: Mapping[int, Spread]) -> Figure:
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    for label, colour, by_endpoints in (
        ("a reader of the log for each endpoint, as it was", "tab:red", earlier),
        ("this version", "tab:blue", costs),
    ):
        axes.plot(
            list(by_endpoints), [cost.median for cost in by_endpoints.values()], label=label, color=colour, marker="o"
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set_xlabel("endpoints, one of which wants the change")
    axes.set_ylabel("processor time of a change,\ndaemon and PostgreSQL, ms")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _goals(lines: Sequence[Line]) -> Figure:
    figure = Figure(figsize=(8, 0.4 * len(lines) + 1))
    axes = figure.subplots()
    for place, line in enumerate(reversed(lines)):
        assert line.ratio is not None
        assert line.goal is not None
        axes.barh(place, line.ratio.median, color="tab:green" if line.met else "tab:orange", height=0.6)
        axes.plot([line.goal.bound] * 2, [place - 0.4, place + 0.4], color="black")
    axes.set_yticks(range(len(lines)), [line.name for line in reversed(lines)])
    axes.set_xlabel("ratio; the mark is the goal")
    return figure
