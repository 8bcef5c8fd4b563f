"""The choice of a PostgreSQL version for the tests, and the report of a run over all versions."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.matrix import TO_COME, VERSIONS, run
from tests.support.server import CHOICE_VARIABLE, binaries_of, choose, started


@pytest.mark.parametrize("version", [*VERSIONS, *TO_COME])
def test_server_is_of_the_version_that_is_asked_for(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if binaries_of(version) is None:
        pytest.skip(f"PostgreSQL {version} is not on this machine")
    monkeypatch.setenv(CHOICE_VARIABLE, version)
    with started(choose()) as server:
        assert server.version.startswith(f"{version}.")


def test_version_that_is_not_there_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICE_VARIABLE, "99")
    with pytest.raises(pytest.exit.Exception, match="apt-get install postgresql-99"):
        choose()


def test_what_is_no_version_is_told_with_what_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICE_VARIABLE, "newest")
    with pytest.raises(pytest.exit.Exception, match="docker, embedded, system or a major version, not newest"):
        choose()


def test_version_that_is_still_to_come_may_be_missing_unless_it_is_asked_for() -> None:
    to_come = run("99", [], required=False)
    assert to_come.exit_code == 0
    assert to_come.row == "99          not available here; once there is a package: apt-get install postgresql-99"
    assert run("99", []).exit_code == 1


@pytest.mark.slow
@pytest.mark.skipif(binaries_of("18") is None, reason="PostgreSQL 18 is not on this machine")
def test_matrix_runs_the_other_versions_and_then_fails_for_one_that_is_not_there() -> None:
    one_test = ["tests/unit/test_tasks.py", "-k", "cancelling"]
    matrix = subprocess.run(
        [sys.executable, "-m", "tests.support.matrix", "--versions", "99", "18", "--", *one_test],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert matrix.returncode == 1, matrix.stderr
    *_, heading, missing, tested = matrix.stdout.splitlines()
    assert re.split(r" {2,}", heading) == ["PostgreSQL", "passed", "failed", "skipped", "seconds"]
    assert missing == "99          not installed; to install it: apt-get install postgresql-99"
    assert re.fullmatch(r"18\.\d+ +1 +0 +0 +\d+", tested)
