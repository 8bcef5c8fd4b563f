"""Run tests on each supported PostgreSQL: ``python -m tests.support.matrix``, as ``make test-matrix`` does.

Each version is a pytest run of its own with that version's programs. A version that is not installed fails as well,
after the others have run: what was not tested is not known to work. Only one that is still to come, and was not asked
for by name, may be missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.support.server import CHOICE_VARIABLE, binaries_of, remedy_for, version_of
from tests.support.version_runs import Run, run_tests, table

VERSIONS = ("15", "16", "17", "18")
TO_COME = ("19",)
"""Those of which there may be no package yet: they are tested where there is one."""
TESTS = ("tests/integration", "tests/e2e")


def run(version: str, tests: Sequence[str], *, required: bool = True) -> Run:
    """Run the tests on one version."""
    binaries = binaries_of(version)
    if binaries is not None:
        return run_tests(version_of(binaries), sys.executable, tests, {CHOICE_VARIABLE: version})
    if required:
        return Run(version, exit_code=1, untested=f"not installed; to install it: {remedy_for(version)}")
    return Run(version, untested=f"not available here; once there is a package: {remedy_for(version)}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.matrix", description=__doc__)
    parser.add_argument(
        "--versions", nargs="+", metavar="VERSION", help="default: 15 16 17 18, and 19 if it is installed"
    )
    parser.add_argument("tests", nargs="*", help="arguments for pytest, after --; default: the tests with a database")
    chosen = parser.parse_args()
    required = chosen.versions or VERSIONS
    versions = chosen.versions or (*VERSIONS, *TO_COME)
    runs = [run(version, chosen.tests or TESTS, required=version in required) for version in versions]
    print(f"\n{table('PostgreSQL', runs)}")
    sys.exit(any(run.exit_code for run in runs))


if __name__ == "__main__":
    main()
