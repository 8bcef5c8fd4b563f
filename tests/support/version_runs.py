"""Runs of pytest on one version of something after the other, and their results as a table."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET


@dataclass(frozen=True)
class Run:
    """The result of one version."""

    version: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    exit_code: int = 0
    untested: str = ""
    """Why nothing was run."""

    @property
    def row(self) -> str:
        if self.untested:
            return f"{self.version:<12}{self.untested}"
        ending = f"  pytest ended with {self.exit_code}" if self.exit_code > 1 else ""
        return f"{self.version:<12}{self.passed:>6}{self.failed:>8}{self.skipped:>9}{self.seconds:>9.0f}{ending}"


def run_tests(version: str, python: str | Path, arguments: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run tests on one version; pytest prints as it goes."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        began = time.monotonic()
        pytest = subprocess.run(
            [python, "-m", "pytest", "-n", "2", "--dist", "worksteal", "--junit-xml", report, *arguments],
            env=os.environ | environment, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - began
        suites = list(ET.parse(report).getroot()) if report.exists() else []
    count = {
        name: sum(int(suite.attrib[name]) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    }
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    return Run(version, passed, failed, count["skipped"], seconds, pytest.returncode)


def table(title: str, runs: Sequence[Run]) -> str:
    """Return the results, a line for each version."""
    heading = f"{title:<12}passed  failed  skipped  seconds"
    return "\n".join([heading, *(run.row for run in runs)])
