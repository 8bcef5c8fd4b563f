"""The benchmark itself: what it makes of figures, and that it runs and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cdc_bridge.queries import all_queries
from cdc_bridge.web import server
from tests.bench.cost import cost_table
from tests.bench.endpoints.table import endpoints_table
from tests.bench.figures import Cell, Goal, Line, alone, by_turns, compared, percentile
from tests.bench.pages import PAGES
from tests.bench.publishing import published_table
from tests.bench.report import table
from tests.bench.sleeper import sleeper
from tests.support.bridge import clean_environment
from tests.support.databases import Database


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


def test_table_of_what_a_write_costs_has_a_row_for_each_kind_of_write_and_says_what_a_time_is_longer_by() -> None:
    def line(unit: str, figures: list[float], reference: list[float], write: str, daemon: str) -> Line:
        return compared("measured", unit, figures, "no trigger", reference, cell=Cell(write, daemon))

    lines = [
        line("µs", [130, 150, 120], [100, 100, 100], "time: one", "absent"),
        line("/s", [50.0], [100.0], "commits a second: 1 writing", "busy"),
        line("µs", [90.0], [100.0], "time: one", "asleep"),
        compared("commit to request", "ms", [2.0], "bare", [1.0]),
    ]
    rows = [row for row in cost_table({}, lines).splitlines() if row.startswith("|")][2:]
    assert rows == [
        "| time: one | 1.30 (1.20 to 1.50), +30 µs | 0.90 (0.90 to 0.90), -10 µs |  |",
        "| commits a second: 1 writing |  |  | 0.50 (0.50 to 0.50) |",
    ]


def test_table_of_many_endpoints_has_a_column_for_each_number_and_what_is_not_reached_in_bold() -> None:
    lines = [
        replace(alone("latency", "ms", [2.0]), endpoints=1),
        replace(compared("latency", "ms", [3.0], "one endpoint", [2.0], Goal("at most", 1.1)), endpoints=100),
        replace(alone("memory", "MB", [70.0], Goal("at most", 80)), endpoints=1),
        alone("of one endpoint", "s", [1.0]),
    ]
    rows = [row for row in endpoints_table({}, lines).splitlines() if row.startswith("|")]
    assert rows == [
        "| measure | 1 | 100 |",
        "| --- | --- | --- |",
        "| latency | 2 ms | 1.50 (3 ms), **at most 1.1** |",
        "| memory | 70 MB, at most 80 |  |",
    ]
    assert "| latency, 100 endpoints | 3 ms | " in table({}, lines)


async def test_every_commit_rings_beside_somebody_who_never_wakes(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    async with database.connection() as listening:
        await listening.execute(all_queries()["listen"])

        async def rings() -> int:
            database.execute("insert into reservations (id, cust_id, reference) values (gen_random_uuid(), 'C', 1)")
            await listening.execute("select")
            return len([ring async for ring in listening.notifies(timeout=0)])

        assert await rings() == 0
        async with sleeper(database):
            assert [await rings() for _ in range(3)] == [1, 1, 1]


def test_each_page_of_the_dashboard_is_measured() -> None:
    assert {page.route for page in PAGES} == {path for method, path, *_ in server._DASHBOARD if method == "GET"}


def test_published_table_says_what_it_was_measured_on() -> None:
    assert " cores of " in published_table()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the benchmark runs on Linux only")
@pytest.mark.timeout(600)
def test_kill_of_a_worker_is_measured_beside_a_peer_that_loses_changes(tmp_path: Path) -> None:
    run = subprocess.run(
        [
            sys.executable, "-m", "tests.bench.peers", "--quick", "--only", "kill", "--peers", "bridge", "naive",
            "--folder", tmp_path,
        ],
        env=clean_environment({}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    kill = json.loads((tmp_path / "peers.json").read_text())["kill"]
    assert kill["bridge"][0]["lost"] == 0
    assert kill["naive"][0]["lost"] > 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the benchmark runs on Linux only")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("measure", "figure", "plots"),
    [
        (["latency"], "| commit to request, idle, p50 | ", {"latency.svg", "goals.svg"}),
        (["endpoints", "--endpoints", "3"], "| commit to request, idle, p50, 3 endpoints | ", {"endpoints.svg"}),
    ],
    ids=["latency", "endpoints"],
)
def test_benchmark_runs_and_leaves_nothing_but_its_results(
    measure: list[str], figure: str, plots: set[str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    with TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)  # PostgreSQL, which is not root, has to get through
        run = subprocess.run(
            [sys.executable, "-m", "tests.bench", "--quick", "--folder", results, "--only", *measure],
            env=clean_environment({"TMPDIR": temporary}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert list(Path(temporary).iterdir()) == []
    assert figure in run.stdout
    assert {file.name for file in results.iterdir()} == {"table.md", "figures.json"} | plots
    (idle, *_) = json.loads((results / "figures.json").read_text())["lines"]
    assert idle["value"]["samples"][0] > 0
