"""``make demo`` and ``make test`` install what each needs, in either order, and say how far they are."""

from __future__ import annotations

import base64
import hashlib
import os
import pty
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
LOCKS = ("requirements-demo.lock", "requirements-dev.lock")
NAMES, OTHER = ("one", "two", "three"), "four"
NO_HASH = "0" * 64


class Make:
    """Runs a copy of the project's Makefile, with a Python that only takes note of what it is to do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("Makefile", "pyproject.toml", *LOCKS):
            shutil.copy(PROJECT / name, folder)
        self._environment = folder / "venv"
        self._asked = folder / "asked"
        self._python = folder / "python"
        note = f'#!/bin/sh\necho "$@" >> "{self._asked}"\n'
        self._python.write_text(
            f'{note}[ "$2" != venv ] || {{ mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; }}\n'
            '[ "$1" != --version ] || echo Python 3.99\n'
        )
        self._python.chmod(0o755)

    def run(self, target: str) -> str:
        ran = subprocess.run(
            ["make", "--no-print-directory", target, f"VENV={self._environment}", f"PYTHON={self._python}"],
            cwd=self._folder, env={name: text for name, text in os.environ.items() if not name.startswith("MAKE")},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return ran.stdout

    def steps(self, target: str) -> list[str]:
        """Run a target; return what Python was asked to do, in short."""
        self._asked.unlink(missing_ok=True)
        self.run(target)
        known = {
            "-m venv": "create",
            "tests/support/install_locked.py requirements-demo.lock": "demo's packages",
            "tests/support/install_locked.py requirements-dev.lock": "all packages",
            "-m pip": "editable",
            "-m cdc_bridge demo": "demo",
            "-m pytest": "tests",
        }
        asked = self._asked.read_text().splitlines()
        return [short for line in asked for words, short in known.items() if line.startswith(words)]

    def touch(self, lock: str) -> None:
        """Give a lock file another time, as git does when it changes branches."""
        os.utime(self._folder / lock)

    def lock_more(self, lock: str) -> None:
        with (self._folder / lock).open("a") as file:
            file.write("# more\n")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return Make(tmp_path)


FOR_DEMO, FOR_TESTS = ["demo's packages", "editable", "demo"], ["all packages", "editable", "tests"]


def test_demo_installs_its_packages_alone_and_tests_the_rest_on_top(make: Make) -> None:
    assert make.steps("demo") == ["create", *FOR_DEMO]
    assert make.steps("demo") == ["demo"]
    assert make.steps("test") == FOR_TESTS
    assert make.steps("test") == ["tests"]
    assert make.steps("demo") == ["demo"]


def test_demo_after_the_tests_installs_nothing(make: Make) -> None:
    assert make.steps("test") == ["create", *FOR_TESTS]
    assert make.steps("demo") == ["demo"]


@pytest.mark.parametrize("lock", LOCKS)
def test_new_lock_file_begins_anew_with_whatever_comes_first(lock: str, make: Make) -> None:
    make.steps("demo")
    make.steps("test")
    make.lock_more(lock)
    assert make.steps("test") == ["create", *FOR_TESTS]
    make.lock_more(lock)
    assert make.steps("demo") == ["create", *FOR_DEMO]


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_file_that_is_only_newer_changes_nothing(lock: str, make: Make) -> None:
    make.steps("test")
    make.touch(lock)
    assert make.steps("test") == ["tests"]
    assert make.steps("demo") == ["demo"]


def test_first_line_is_there_before_anything_is_installed(make: Make) -> None:
    assert make.run("demo").startswith("Creating ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages, a lock file that names three of them, and one with a wrong hash of another."""
    folder = tmp_path_factory.mktemp("packages")
    lines = []
    for name in (*NAMES, OTHER):
        wheel = folder / f"{name}-1.0-py3-none-any.whl"
        files = {
            f"{name}.py": b"",
            f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
            f"{name}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{file},sha256={_digest(content)},{len(content)}\n" for file, content in files.items())
        files[f"{name}-1.0.dist-info/RECORD"] = f"{record}{name}-1.0.dist-info/RECORD,,\n".encode()
        with zipfile.ZipFile(wheel, "w") as archive:
            for file, content in files.items():
                archive.writestr(file, content)
        lines.append(f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    elsewhere = f'elsewhere==1.0 ; sys_platform == "nowhere" \\\n    --hash=sha256:{NO_HASH}\n'
    (folder / "good.lock").write_text("".join([*lines[:-1], elsewhere]))
    (folder / "bad.lock").write_text(f"{OTHER}==1.0 \\\n    --hash=sha256:{NO_HASH}\n")
    return folder


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


@pytest.fixture(scope="module")
def python(folder: Path) -> Path:
    """An environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    return folder / "venv" / "bin" / "python"


def test_progress_names_each_package_of_this_system_and_its_end(folder: Path, python: Path) -> None:
    shown = on_terminal(python, folder / "good.lock")
    assert "Installing the packages of " in shown.partition("fetched")[0]
    assert re.findall(r"fetched (\d of \d) packages: (\w+)", shown) == [
        (f"{number} of 3", name) for number, name in enumerate(NAMES, start=1)
    ]
    assert re.search(r"good\.lock is installed, after \d+ s\.\r\n$", shown)
    listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert all(name in listed for name in NAMES)


def test_package_with_another_hash_ends_it_with_pips_words(folder: Path, python: Path) -> None:
    ran = subprocess.run(
        command(python, folder / "bad.lock"),
        env=offline(folder),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in ran.stderr
    assert "installed" not in ran.stdout


def command(python: Path, lock: Path) -> list[str]:
    return [str(python), "tests/support/install_locked.py", str(lock)]


def offline(folder: Path) -> dict[str, str]:
    own = {name: text for name, text in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    return own | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}


def on_terminal(python: Path, lock: Path) -> str:
    outer, inner = pty.openpty()
    with subprocess.Popen(command(python, lock), env=offline(lock.parent), cwd=PROJECT, stdout=inner) as process:
        os.close(inner)
        shown = b""
        while piece := _piece(outer):
            shown += piece
        os.close(outer)
        assert process.wait() == 0
    return shown.decode()


def _piece(outer: int) -> bytes:
    try:
        return os.read(outer, 65_536)
    except OSError:  # So Linux says that nobody has it open any more.
        return b""
