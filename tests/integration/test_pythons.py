"""The choice of the Pythons that the tests run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import pythons
from tests.support.version_runs import Run


def interpreter(python: Path, told: str, exit_code: int = 0) -> Path:
    """Write a program that says a version, as an interpreter does."""
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho {told}\nexit {exit_code}\n")
    python.chmod(0o755)
    return python


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    return tmp_path


def test_newest_interpreter_of_a_version_is_found_wherever_it_is(machine: Path) -> None:
    interpreter(machine / "bin" / "python3.98", "shim", exit_code=127)
    interpreter(machine / "pyenv/versions/3.98.9/bin/python", "3.98.9")
    newest = interpreter(machine / "uv/cpython-3.98.10-linux-x86_64-gnu/bin/python3.98", "3.98.10")
    interpreter(machine / "pyenv/versions/3.9.20/bin/python", "3.9.20")
    assert pythons.interpreter_of("3.98") == ("3.98.10", newest)
    assert pythons.interpreter_of("3.97") is None


@pytest.mark.parametrize(
    ("arguments", "failures", "exit_code"),
    [
        ([], 0, 0),
        ([], 1, 1),
        (["--versions", "3.98"], 0, 0),
        (["--versions", "3.98", "3.99"], 0, 1),
        (["--versions", "3.99"], 0, 1),
    ],
)
def test_failed_test_and_missing_version_that_was_asked_for_fail_the_run(
    arguments: list[str],
    failures: int,
    exit_code: int,
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    python = interpreter(machine / "bin" / "python3.98", "3.98.1")
    monkeypatch.setattr(pythons, "VERSIONS", ("3.98", "3.99"))
    monkeypatch.setattr(pythons, "run", lambda version, *_: Run(version, 7, failures, exit_code=failures))
    monkeypatch.setattr("sys.argv", ["pythons", *arguments])
    with pytest.raises(SystemExit) as ended:
        pythons.main()
    assert bool(ended.value.code) == bool(exit_code)
    found, *_ = capsys.readouterr().out.splitlines()
    here = "none" if arguments == ["--versions", "3.99"] else f"3.98.1 ({python})"
    assert found == f"Python found: {here}; not found: {'none' if arguments[1:] == ['3.98'] else '3.99'}"
