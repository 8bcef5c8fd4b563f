"""The benchmark itself: what it makes of figures, and that it runs and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.bench.figures import Goal, by_turns, compared, percentile
from tests.bench.report import published_table, table
from tests.support.bridge import clean_environment


def test_ratio_is_of_figures_measured_one_after_the_other() -> None:
    line = compared("rate", "/s", [90, 40, 99], "bare", [100, 50, 110], Goal("at least", 0.85))
    assert line.ratio is not None
    assert line.ratio.samples == (0.9, 0.8, 0.9)
    assert line.met


@pytest.mark.parametrize(("kind", "met"), [("at least", [False, True, True]), ("at most", [True, True, False])])
def test_goal_is_met_at_its_bound(kind: str, met: list[bool]) -> None:
    goal = Goal(kind, 2)  # type: ignore[arg-type]
    assert [goal.met(figure) for figure in (1, 2, 3)] == met


async def test_contenders_go_now_in_one_order_and_now_in_the_other() -> None:
    went: list[str] = []

    def contender(name: str) -> float:
        went.append(name)
        return float(len(went))

    contenders = {name: lambda name=name: asyncio.to_thread(contender, name) for name in ("a", "b")}
    assert await by_turns(2, contenders) == {"a": [1.0, 4.0], "b": [2.0, 3.0]}
    assert went == ["a", "b", "b", "a"]


def test_percentile_is_one_of_the_samples() -> None:
    samples = [float(number) for number in range(100, 0, -1)]
    assert [percentile(samples, percent) for percent in (0, 50, 99, 100)] == [1, 51, 100, 100]


def test_goal_that_is_missed_is_said_in_the_table() -> None:
    line = compared("rate", "/s", [60.0], "bare", [100.0], Goal("at least", 0.85))
    assert "| rate | 60 /s | 100 /s bare | 0.60 (0.60 to 0.60) | at least 0.85, **not reached** |" in table({}, [line])


def test_published_table_says_what_it_was_measured_on() -> None:
    assert " cores of " in published_table()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the benchmark runs on Linux only")
def test_benchmark_runs_and_leaves_nothing_but_its_results(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)  # PostgreSQL, which is not root, has to get through
        run = subprocess.run(
            [sys.executable, "-m", "tests.bench", "--quick", "--only", "latency", "--folder", results],
            env=clean_environment({"TMPDIR": temporary}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert list(Path(temporary).iterdir()) == []
    assert "| commit to call, idle, p50 | " in run.stdout
    assert {file.name for file in results.iterdir()} == {"table.md", "figures.json", "latency.svg", "goals.svg"}
    (idle, *_) = json.loads((results / "figures.json").read_text())["lines"]
    assert idle["value"]["samples"][0] > 0
