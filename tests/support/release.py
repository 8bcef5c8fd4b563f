"""Release the version that the code names: ``python -m tests.support.release``, as ``make release`` does.

Nothing is built before version, changelog, tree and tag were looked at, and nothing is tagged before what was built was
looked at. Nothing is published: that is the last step, by hand, and its commands are printed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cdc_bridge import __version__

PROJECT = Path(__file__).parents[2]
TAG = f"v{__version__}"
SUMS = "SHA256SUMS"
_NAME = f"cdc_bridge-{__version__}"
_IN_PACKAGE = ("cdc_bridge", "sql")


class NotReleased(Exception):
    """Why nothing was tagged."""


@dataclass(frozen=True)
class Artefacts:
    """What a release consists of."""

    wheel: Path
    sdist: Path

    def problems(self, files: Sequence[str]) -> Iterator[str]:
        """Yield what is wrong with them.

        Args:
            files: Those of the repository.
        """
        in_wheel, in_sdist = contents(self.wheel), contents(self.sdist)
        packaged = {name: name.replace("sql/", "cdc_bridge/sql/", 1) for name in files if _is_packaged(name)}
        for name in files:
            original = (PROJECT / name).read_bytes()
            if in_sdist.get(f"{_NAME}/{name}") != original:
                yield f"{self.sdist.name} has not the {name} of the repository"
            if name in packaged and in_wheel.get(packaged[name]) != original:
                yield f"{self.wheel.name} has not the {name} of the repository"
        extra = in_sdist.keys() - {f"{_NAME}/{name}" for name in files} - {f"{_NAME}/PKG-INFO"}
        yield from (f"{self.sdist.name} has {name}, which is not in the repository" for name in sorted(extra))
        extra = {name for name in in_wheel if ".dist-info/" not in name and ".data/" not in name}
        extra -= set(packaged.values())
        yield from (f"{self.wheel.name} has {name}, which is not in the repository" for name in sorted(extra))


def contents(archive: Path) -> Mapping[str, bytes]:
    """Return the files of a wheel or an sdist."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(archive) as sdist:
        files = {member.name: sdist.extractfile(member) for member in sdist if member.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


def build(source: Path, folder: Path) -> Artefacts:
    """Build wheel and sdist, the same bytes from the same commit."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    _run(*command, in_folder=source)
    return Artefacts(folder / f"{_NAME}-py3-none-any.whl", folder / f"{_NAME}.tar.gz")


def files_of_repository() -> list[str]:
    """Return the files of the repository, new ones included; before a release there are none."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return [name for name in listed if (PROJECT / name).exists()]


def main() -> None:
    """Check, build, check what was built, tag."""
    try:
        notes = _notes()
        _check_tree_and_tag()
        folder = PROJECT / "dist"
        for old in (*folder.glob(f"{_NAME}*"), folder / SUMS):
            old.unlink(missing_ok=True)
        artefacts = build(PROJECT, folder)
        _check(artefacts)
        (folder / SUMS).write_text(
            "".join(f"{_sum(file)}  {file.name}\n" for file in (artefacts.wheel, artefacts.sdist))
        )
        _git("tag", "--annotate", TAG, "--message", f"cdc-bridge {__version__}\n\n{notes}", "--cleanup", "verbatim")
    except NotReleased as error:
        sys.exit(f"Not released: {error}")
    _say(f"{TAG} is tagged; {folder} has {artefacts.wheel.name}, {artefacts.sdist.name} and {SUMS}.")
    _say("To publish it:")
    for command in (
        f"git push origin {TAG}",
        f"docker build --file cdc_bridge/packaging/Dockerfile --tag REGISTRY/cdc-bridge:{__version__} .",
        f"docker push REGISTRY/cdc-bridge:{__version__}",
        f"gh release create {TAG} dist/{_NAME}* dist/{SUMS} --notes-from-tag",
    ):
        _say(f"  {command}")
    _say("Then begin the next version: __version__ in cdc_bridge/__init__.py, and ## Unreleased in CHANGELOG.md.")


def _notes() -> str:
    """Return the changelog's section of this version, the first one."""
    _, heading, section = re.split(r"^## (.*)$", (PROJECT / "CHANGELOG.md").read_text(), maxsplit=1, flags=re.MULTILINE)
    if not re.fullmatch(rf"{re.escape(__version__)} - \d{{4}}-\d\d-\d\d", heading):
        raise NotReleased(
            f'CHANGELOG.md begins with "## {heading}", but the code has version {__version__}. '
            f'Its first heading has to be "## {__version__} - YYYY-MM-DD".'
        )
    notes = section.partition("\n## ")[0].strip()
    if not notes:
        raise NotReleased(f"CHANGELOG.md says nothing about {__version__}.")
    return notes


def _check_tree_and_tag() -> None:
    if changed := _git("status", "--porcelain"):
        raise NotReleased(f"there are changes that are not committed:\n{changed}")
    if _git("tag", "--list", TAG):
        raise NotReleased(f"{TAG} is tagged already. Raise __version__ in cdc_bridge/__init__.py.")


def _check(artefacts: Artefacts) -> None:
    if problems := list(artefacts.problems(files_of_repository())):
        raise NotReleased("\n".join(["what was built is wrong:", *problems]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with tarfile.open(artefacts.sdist) as sdist:
            sdist.extractall(folder, filter="data")
        again = build(folder / _NAME, folder / "again")
        if contents(again.wheel) != contents(artefacts.wheel):
            raise NotReleased(f"{artefacts.sdist.name} builds another wheel than {artefacts.wheel.name}.")
        if (told := _installed_version(artefacts.wheel, folder / "venv")) != f"cdc-bridge {__version__}":
            raise NotReleased(f"{artefacts.wheel.name}, once installed, says that it is {told}.")


def _installed_version(wheel: Path, environment: Path) -> str:
    venv.create(environment, symlinks=True)
    python = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python]
    _run(*pip, "install", "--no-index", "--no-deps", str(wheel), in_folder=environment)
    # Of a folder in PYTHONPATH no .pth file is read: so the editable installation of the repository is not there.
    borrowed = {"PYTHONPATH": sysconfig.get_path("purelib")}
    return _run(str(environment / "bin" / "cdc-bridge"), "--version", in_folder=environment, **borrowed).strip()


def _is_packaged(name: str) -> bool:
    return name.partition("/")[0] in _IN_PACKAGE


def _sum(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def _git(*arguments: str) -> str:
    return _run("git", *arguments, in_folder=PROJECT).rstrip("\n")


def _run(*command: str, in_folder: Path, **variables: str) -> str:
    ran = subprocess.run(
        command, cwd=in_folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    if ran.returncode != 0:
        raise NotReleased(f"{' '.join(command)} failed:\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
