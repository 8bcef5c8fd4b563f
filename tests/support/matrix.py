"""Run tests on each supported PostgreSQL: ``python -m tests.support.matrix``, as ``make test-matrix`` does.

Each version is a pytest run of its own with that version's programs. A version that is not installed fails as well,
after the others have run: what was not tested is not known to work.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

from tests.support.server import CHOICE_VARIABLE, binaries_of, remedy_for, version_of

VERSIONS = ("15", "17", "18")
TESTS = ("tests/integration", "tests/e2e")


@dataclass(frozen=True)
class Run:
    """The result of one version."""

    version: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    exit_code: int = 0
    remedy: str = ""

    @property
    def row(self) -> str:
        if self.remedy:
            return f"{self.version:<12}not installed; to install it: {self.remedy}"
        ending = f"  pytest ended with {self.exit_code}" if self.exit_code > 1 else ""
        return f"{self.version:<12}{self.passed:>6}{self.failed:>8}{self.skipped:>9}{self.seconds:>9.0f}{ending}"


def run(version: str, tests: Sequence[str]) -> Run:
    """Run the tests on one version; pytest prints as it goes."""
    binaries = binaries_of(version)
    if binaries is None:
        return Run(version, exit_code=1, remedy=remedy_for(version))
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        began = time.monotonic()
        pytest = subprocess.run(
            [sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal", "--junit-xml", report, *tests],
            env=os.environ | {CHOICE_VARIABLE: version}, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - began
        suites = list(ET.parse(report).getroot()) if report.exists() else []
    count = {
        name: sum(int(suite.attrib[name]) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    }
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    return Run(version_of(binaries), passed, failed, count["skipped"], seconds, pytest.returncode)


def table(runs: Sequence[Run]) -> str:
    """Return the results, a line for each version."""
    heading = f"{'PostgreSQL':<12}passed  failed  skipped  seconds"
    return "\n".join([heading, *(run.row for run in runs)])


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.matrix", description=__doc__)
    parser.add_argument("--versions", nargs="+", default=VERSIONS, metavar="VERSION", help="default: 15 17 18")
    parser.add_argument("tests", nargs="*", help="arguments for pytest, after --; default: the tests with a database")
    chosen = parser.parse_args()
    runs = [run(version, chosen.tests or TESTS) for version in chosen.versions]
    print(f"\n{table(runs)}")
    sys.exit(any(run.exit_code for run in runs))


if __name__ == "__main__":
    main()
