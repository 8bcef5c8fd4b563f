"""The Dockerfile makes what it says: its steps are run without an engine, and what they leave is a daemon that works.

What needs an engine is not seen here: the base image, the size, and that the user of the image may read everything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from cdc_bridge import __version__
from cdc_bridge.settings import PREFIX, Settings
from tests.support.image import PROJECT, instructions, stages

BUILD, FINAL = stages()


def test_it_has_two_stages_of_one_base_and_the_second_takes_the_environment_alone() -> None:
    first, second = instructions("FROM")
    assert first == f"{second} AS build"
    assert [arguments for name, arguments in FINAL if name == "COPY"] == [
        "--from=build /opt/cdc-bridge /opt/cdc-bridge"
    ]
    assert [name for name, _ in FINAL if name in {"RUN", "ADD", "ARG"}] == []


def test_it_does_not_run_as_root_and_says_so_by_a_number() -> None:
    (user,) = instructions("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert [name for name, _ in FINAL].index("USER") < [name for name, _ in FINAL].index("ENTRYPOINT")


def test_settings_in_it_exist() -> None:
    named = set(re.findall(rf"{PREFIX}[A-Z_]+", " ".join(instructions("ENV") + instructions("HEALTHCHECK"))))
    assert named
    assert named <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def copied() -> list[str]:
    return [source for name, arguments in BUILD if name == "COPY" for source in arguments.split()[:-1]]


def test_everything_that_is_copied_is_sent_to_the_engine() -> None:
    ignored, *let_through = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert ignored == "*"
    sent = {line.removeprefix("!") for line in let_through if line.startswith("!")}
    assert {name for name in sent if not (PROJECT / name).exists()} == set()
    assert {name for name in copied() if sent.isdisjoint({name, name.partition("/")[0]})} == set()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the steps of the first stage. Instead of packages from an index, those of this environment are there."""
    folder = tmp_path_factory.mktemp("image")
    source, programs, made = folder / "source", folder / "programs", folder / "opt"
    source.mkdir()
    programs.mkdir()
    for name in copied():
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / name, source)
    pip = f'exec "{sys.executable}" -m pip --disable-pip-version-check --no-input'
    for name, words in {
        "python": f'exec "{sys.executable}" "$@"',
        # Packages come from an index, so that this is only taken note of.
        "pip": f'echo "$@" >> "{folder}/asked"; case "$*" in *.whl|wheel*) {pip} "$@" --no-index;; esac',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\nset -eu\n{words}\n")
        (programs / name).chmod(0o755)
    here = {"/opt/cdc-bridge": str(made), "/wheel": str(folder / "wheel"), "/constraints": str(folder / "constraints")}
    for step in [arguments for name, arguments in BUILD if name == "RUN"]:
        words = re.sub("|".join(here), lambda found: here[found[0]], step)
        path = {"PATH": f"{programs}:{os.environ['PATH']}"}
        ran = subprocess.run(["sh", "-c", words], cwd=source, env=os.environ | path, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr.decode()
    return folder


def test_packages_are_the_locked_ones(environment: Path) -> None:
    into = f"--python {environment}/opt/bin/python"
    locked, builder, wheel, package = (environment / "asked").read_text().splitlines()
    assert locked == f"{into} install --require-hashes --requirement requirements.lock"
    assert builder == f"install --constraint {environment}/constraints hatchling"
    assert wheel == f"wheel --no-deps --no-build-isolation --wheel-dir {environment}/wheel ."
    assert package.startswith(f"{into} install --no-deps {environment}/wheel/cdc_bridge-{__version__}-")
    pins = re.findall(r"^([\w.-]+==\S+)", (PROJECT / "requirements-dev.lock").read_text(), flags=re.MULTILINE)
    constraints = (environment / "constraints").read_text().splitlines()
    assert [line.partition(" ;")[0] for line in constraints] == pins


def test_program_of_the_image_is_the_one_that_was_built(environment: Path) -> None:
    (entry,) = instructions("ENTRYPOINT")
    program = re.fullmatch(r'\["([a-z-]+)"\]', entry)
    assert program is not None
    ran = subprocess.run(
        [environment / "opt" / "bin" / program[1], "--version"],
        env=os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}, cwd=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"cdc-bridge {__version__}\n", "")
