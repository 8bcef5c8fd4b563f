"""Run tests on the newer Pythons of this machine: ``python -m tests.support.pythons``, as ``make test-python`` does.

Each version gets a virtual environment of its own from the lock file, such as .venv-3.13. A version that is not on this
machine is named, and fails if it was asked for; so does a machine that has none of them, as nothing was tested.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.version_runs import Run, run_tests, table

VERSIONS = ("3.12", "3.13", "3.14")
TESTS = (
    "tests/unit", "tests/integration/payload", "tests/integration/transport", "tests/integration/vendor",
    "tests/integration/packaging", "tests/e2e/test_delivery.py", "tests/e2e/test_payload.py", "tests/e2e/test_tls.py",
    "tests/e2e/test_cli.py",
)  # fmt: skip
"""What depends on Python: all decisions, loading, the standard library's TLS, packaging, and a daemon that delivers."""
_ROOT = Path(__file__).parents[2]
_TELL_VERSION = "import platform, ssl, venv; print(platform.python_version())"


def interpreter_of(version: str) -> tuple[str, Path] | None:
    """Return the full version and the newest interpreter of a minor version on this machine, if there is one."""
    found = [(told, python) for python in _candidates(version) if (told := _version_of(python))]
    of_version = [(told, python) for told, python in found if told.startswith(f"{version}.")]
    return max(of_version, key=lambda each: [int(number) for number in re.findall(r"\d+", each[0])], default=None)


def _candidates(version: str) -> Iterator[Path]:
    """Yield what may be an interpreter: on the path, of pyenv and of uv."""
    if on_path := shutil.which(f"python{version}"):
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from pyenv.glob(f"versions/{version}.*/bin/python")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    yield from uv.glob(f"cpython-{version}.*/bin/python{version}")


def _version_of(python: Path) -> str:
    """Return an interpreter's version; nothing if it cannot be used, as pyenv's shim of a version that is not set."""
    told = subprocess.run([python, "-c", _TELL_VERSION], capture_output=True, text=True, check=False)
    return told.stdout.strip() if told.returncode == 0 else ""


def run(version: str, python: Path, tests: Sequence[str]) -> Run:
    """Install what the lock file has, and run the tests."""
    folder = _ROOT / f".venv-{version}"
    make = ["make", "--no-print-directory", "install", f"VENV={folder.name}", f"PYTHON={python}"]
    if subprocess.run(make, cwd=_ROOT, check=False).returncode:
        return Run(version, exit_code=1, untested="its virtual environment cannot be made")
    return run_tests(version, folder / "bin" / "python", tests, {})


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.pythons", description=__doc__)
    parser.add_argument("--versions", nargs="+", metavar="VERSION", help=f"default: {' '.join(VERSIONS)}")
    parser.add_argument("tests", nargs="*", help="arguments for pytest, after --; default: what depends on Python")
    chosen = parser.parse_args()
    found = {version: interpreter_of(version) for version in chosen.versions or VERSIONS}
    here = [f"{each[0]} ({each[1]})" for each in found.values() if each is not None]
    missing = [version for version, each in found.items() if each is None]
    print(f"Python found: {', '.join(here) or 'none'}; not found: {', '.join(missing) or 'none'}", flush=True)
    runs = [
        run(version, each[1], chosen.tests or ["-m", "not slow", *TESTS])
        for version, each in found.items()
        if each is not None
    ]
    print(f"\n{table('Python', [*runs, *(Run(version, untested='not installed') for version in missing)])}")
    sys.exit(not runs or bool(chosen.versions and missing) or any(run.exit_code for run in runs))


if __name__ == "__main__":
    main()
