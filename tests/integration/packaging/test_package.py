"""What ``pip install`` of the wheel brings is all that is needed: nothing comes from the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cdc_bridge import __version__
from cdc_bridge.guides import Guide, guide_text
from cdc_bridge.packaging.service_files import unit_text
from cdc_bridge.packaging.settings_example import settings_example
from cdc_bridge.schema.sql_text import install_text, uninstall_text
from cdc_bridge.vendor.contract import EXAMPLES, RECEIVERS, SCHEMA_FILE, openapi, text_of
from tests.support.release import Artefacts, build, contents, files_of_repository

_PROJECT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel, which borrows only what the wheel depends on: no extra is there."""

    folder: Path
    artefacts: Artefacts

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs, somewhere else than in the repository."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("CDC_BRIDGE_", "PYTHON"))}
        return subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            env=clean | {"CDC_BRIDGE_CONFIG": os.devnull} | environment, cwd=self.folder,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def output(self, *command: str | Path) -> str:
        ran = self.run(*command)
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout


def requirements_of(name: str, extras: Collection[str] = ("",)) -> Iterator[Requirement]:
    """Yield what a package requires here, with some of its extras."""
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement


def without_extras() -> set[str]:
    """Return the packages that come with this one if no extra is asked for."""
    found: dict[str, set[str]] = {}
    left = list(requirements_of("cdc-bridge"))
    while left:
        requirement = left.pop()
        extras = {"", *requirement.extras}
        if not extras <= found.get(requirement.name, set()):
            found.setdefault(requirement.name, set()).update(extras)
            left += requirements_of(requirement.name, found[requirement.name])
    return set(found)


def lend(package: str, site: Path) -> None:
    """Make a package of this environment one of another, by links."""
    for top in {file.parts[0] for file in metadata.files(package) or ()} - {"..", "__pycache__"}:
        source = Path(str(metadata.distribution(package).locate_file(top)))
        if source.exists() and not (site / top).exists():
            (site / top).symlink_to(source)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("package")
    artefacts = build(_PROJECT, folder)
    venv.create(folder / "venv", symlinks=True)
    python = str(folder / "venv" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(artefacts.wheel)], check=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    for package in without_extras():
        lend(package, site)
    return Installed(folder / "venv", artefacts)


def test_the_package_is_imported_from_where_it_was_installed(installed: Installed) -> None:
    *path, file = installed.output(
        "python", "-c", "import sys, cdc_bridge; print(*sys.path, cdc_bridge.__file__, sep='\\n')"
    ).splitlines()
    assert Path(file).is_relative_to(installed.folder)
    assert str(_PROJECT) not in path


def test_wheel_and_sdist_have_the_files_of_the_repository(installed: Installed) -> None:
    assert list(installed.artefacts.problems(files_of_repository())) == []
    files = {*contents(installed.artefacts.wheel), *contents(installed.artefacts.sdist)}
    for file in ("vendor/guide.md", "guides/operator.md", "vendor/documents/openapi.json", "sql/README.md"):
        assert len([name for name in files if name.endswith(file)]) >= 2
    assert not [file for file in contents(installed.artefacts.wheel) if file.startswith("tests")]


def test_without_extras_there_is_everything_but_receiver_and_demo(installed: Installed) -> None:
    for command, extra in (("receive", "receive"), ("demo", "demo")):
        ran = installed.run("cdc-bridge", command)
        assert ran.returncode == 1
        assert f"Install it: pip install 'cdc-bridge[{extra}]'" in ran.stderr
    assert "Usage: cdc-bridge trigger" in installed.output("cdc-bridge", "trigger", "--help")
    modules = (
        "import pkgutil, importlib, cdc_bridge\n"
        "for module in pkgutil.walk_packages(cdc_bridge.__path__, 'cdc_bridge.'):\n"
        "    if not module.name.startswith(('cdc_bridge.demo', 'cdc_bridge.vendor.receive', 'cdc_bridge.__main__',\n"
        "                                   'cdc_bridge.cli.demo', 'cdc_bridge.cli.receive')):\n"
        "        importlib.import_module(module.name)"
    )
    assert installed.output("python", "-c", modules) == ""


def test_version_stands_in_one_place(installed: Installed) -> None:
    assert installed.output("cdc-bridge", "--version") == f"cdc-bridge {__version__}\n"
    assert installed.artefacts.wheel.name == f"cdc_bridge-{__version__}-py3-none-any.whl"


def test_sql_is_that_of_the_repository(installed: Installed) -> None:
    assert installed.output("cdc-bridge", "install", "--print") == install_text(for_psql=True)
    assert installed.output("cdc-bridge", "uninstall", "--print") == uninstall_text()


def test_unit_starts_the_program_that_was_installed(installed: Installed) -> None:
    assert installed.output("cdc-bridge", "systemd", "print") == unit_text(installed.folder / "bin" / "cdc-bridge")
    assert installed.output("cdc-bridge", "systemd", "print", "--settings") == settings_example()


@pytest.mark.slow
def test_contract_is_that_of_the_repository(installed: Installed) -> None:
    printed = {"schema": SCHEMA_FILE, "vector": "signature-vector.json"}
    for command, file in printed.items():
        assert installed.output("cdc-bridge", "contract", command) == text_of(file)
    assert json.loads(installed.output("cdc-bridge", "contract", "openapi")) == openapi()
    assert installed.output("cdc-bridge", "contract", "example") == text_of(EXAMPLES["announcement"])
    assert installed.output("cdc-bridge", "contract", "example", "--list").split() == list(EXAMPLES)
    for name, file in EXAMPLES.items():
        assert installed.output("cdc-bridge", "contract", "example", name) == text_of(file)
    for name, (program, *_) in RECEIVERS.items():
        assert installed.output("cdc-bridge", "contract", "receiver", name) == text_of(program)


def test_guides_are_those_of_the_repository(installed: Installed) -> None:
    for guide in Guide:
        assert installed.output("cdc-bridge", "guide", guide) == guide_text(guide)


def test_licence_comes_with_it(installed: Installed) -> None:
    files = contents(installed.artefacts.wheel)
    (described,) = (files[file] for file in files if file.endswith(".dist-info/METADATA"))
    assert "License-Expression: MIT\n" in described.decode()
    assert [file for file in files if file.endswith(".dist-info/licenses/LICENSE")]


def test_man_page_is_where_man_looks(installed: Installed) -> None:
    page = installed.folder / "share" / "man" / "man1" / "cdc-bridge.1"
    assert page.read_bytes() == (_PROJECT / "cdc_bridge" / "packaging" / "cdc-bridge.1").read_bytes()


def test_check_and_run_get_as_far_as_the_database(installed: Installed) -> None:
    nowhere = {"CDC_BRIDGE_DATABASE_URL": "host=localhost port=1 connect_timeout=2 user=cdc_bridge dbname=eres"}
    for command in ("check", "run"):
        ran = installed.run("cdc-bridge", command, **nowhere)
        assert ran.returncode == 1
        assert "nothing listens at " in ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr


def test_shells_complete_its_commands(installed: Installed) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "cdc-bridge" in installed.run("cdc-bridge", _CDC_BRIDGE_COMPLETE=f"source_{shell}").stdout
    # What bash does when Tab is pressed after these words.
    script = (
        'eval "$(_CDC_BRIDGE_COMPLETE=source_bash cdc-bridge)"; COMP_WORDS=(cdc-bridge endpoint re); COMP_CWORD=2; '
        "$(complete -p cdc-bridge | sed 's/.*-F \\([^ ]*\\).*/\\1/') cdc-bridge; echo ${COMPREPLY[@]}"
    )
    (installed.folder / "bin" / "try").write_text(f"#!/bin/bash\nPATH={installed.folder}/bin:$PATH\n{script}\n")
    (installed.folder / "bin" / "try").chmod(0o755)
    assert installed.output("try").split() == ["resume", "remove"]
