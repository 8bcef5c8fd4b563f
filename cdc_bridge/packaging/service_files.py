"""The files of the systemd service: the unit, the settings and the folders for secrets.

What a person may have changed is never written over: the settings file not at all, the unit not without being told
to. So all of it can be repeated, after an upgrade too.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import cdc_bridge
from cdc_bridge.errors import BridgeError
from cdc_bridge.packaging.settings_example import CREDENTIALS_FOLDER, settings_example
from cdc_bridge.settings_sources import DEFAULT_CONFIG

UNIT = "cdc-bridge.service"
UNIT_FILE = Path("/etc/systemd/system", UNIT)
KEYS_FOLDER = Path("/etc/cdc-bridge/tls")

_PROGRAM = "cdc-bridge"
_INSTALL_IT = "Install it: python3 -m venv /opt/cdc-bridge, then /opt/cdc-bridge/bin/pip install cdc-bridge"
_AFTER_FIRST_INSTALLATION = f"""
Left to do:
  1. Write into {CREDENTIALS_FOLDER}/database_url how to reach the database. If it is on this machine:
     echo 'host=/run/postgresql dbname=eres user=cdc_bridge' > {CREDENTIALS_FOLDER}/database_url
  2. Name the endpoint in {DEFAULT_CONFIG} (endpoint_url). Its signing secret and its header go into
     {CREDENTIALS_FOLDER}/endpoint_secret and endpoint_header.
  3. systemctl daemon-reload && systemctl enable --now cdc-bridge
  4. systemctl status cdc-bridge; if it did not start: journalctl -u cdc-bridge"""
_AFTER_UPGRADE = """
Left to do: systemctl daemon-reload && systemctl restart cdc-bridge"""

_EXEC_START = re.compile(r"^ExecStart=\S+", re.MULTILINE)
_HARMLESS_IN_A_UNIT = re.compile(r"[\w/.+@-]+", re.ASCII)
_HIDDEN_FROM_THE_SERVICE = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
_OTHERS_ENTER, _OTHERS_READ = stat.S_IXOTH, stat.S_IROTH

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files go, and what the unit is to start."""

    root: Path
    """The folder taken for ``/``; another than that is an image or a package in the making."""
    program: Path

    @property
    def is_this_machine(self) -> bool:
        """Whether the service is to run here."""
        return self.root.resolve() == Path("/")

    def of(self, path: Path) -> Path:
        """Return where an absolute path of the service's machine lies on this one."""
        return self.root / path.relative_to("/")


def this_program() -> Path:
    """Return where the ``cdc-bridge`` that runs is installed.

    Raises:
        BridgeError: it is not; the package is run from its folder.
    """
    program = Path(sysconfig.get_path("scripts"), _PROGRAM)
    if program.exists():
        return program
    started = Path(sys.argv[0]).absolute()
    if started.name == _PROGRAM and started.exists():
        return started
    raise BridgeError(
        f"there is no program {program} that a service could start",
        _INSTALL_IT,
    )


def unit_text(program: Path) -> str:
    """Return the unit.

    Args:
        program: what it starts.

    Raises:
        BridgeError: the program's path has characters that mean something else in a unit.
    """
    if not _HARMLESS_IN_A_UNIT.fullmatch(str(program)):
        raise BridgeError(f"{program} has characters in its path that mean something else in a unit", _INSTALL_IT)
    template = files("cdc_bridge").joinpath("packaging", UNIT).read_text(encoding="utf-8")
    return _EXEC_START.sub(f"ExecStart={program}", template)


def write_service_files(place: Place, say: Say, *, force: bool) -> None:
    """Write what is not there yet.

    Args:
        place: where to.
        say: is told what was done with each file, and what is left to be done.
        force: write the unit even over one that is different.

    Raises:
        BridgeError: it may not be written there, the unit there is a different one, or the service could not start
            the program.
    """
    unit, text = place.of(UNIT_FILE), unit_text(place.program)
    if place.is_this_machine:
        _require_root(place.program)
        check_service_can_run(place.program, Path(cdc_bridge.__file__), Path(sys.executable).resolve())
    config, credentials = place.of(DEFAULT_CONFIG), place.of(CREDENTIALS_FOLDER)
    try:
        if not force:
            _require_same(unit, text)
        _write(unit, text, say)
        _make_folder(config.parent, 0o755, say)
        if config.exists():
            say(f"kept      {config}")
        else:
            _write(config, settings_example(), say)
        _make_folder(credentials, 0o700, say)
        _make_folder(place.of(KEYS_FOLDER), 0o700, say)
        is_set_up = (credentials / "database_url").exists()
    except OSError as error:
        raise BridgeError(f"{error.filename} cannot be read or written: {error.strerror}") from error
    say(_AFTER_UPGRADE if is_set_up else _AFTER_FIRST_INSTALLATION)


def check_service_can_run(*paths: Path) -> None:
    """Check that the service, which is an ordinary user and sees no home folders, can read files.

    Raises:
        BridgeError: it cannot.
    """
    for path in paths:
        if any(path.is_relative_to(folder) for folder in _HIDDEN_FROM_THE_SERVICE):
            raise BridgeError(f"{path} is not seen by the service, so nothing was written", _INSTALL_IT)
        closed = [parent for parent in path.parents if not parent.stat().st_mode & _OTHERS_ENTER]
        if closed or not path.stat().st_mode & _OTHERS_READ:
            raise BridgeError(
                f"the service's user may not read {closed[-1] if closed else path}, so nothing was written",
                f"{_INSTALL_IT}; all of it with umask 022",
            )


def _require_root(program: Path) -> None:
    if os.geteuid() != 0:
        raise BridgeError(
            "only root may write to /etc, and nothing was written",
            f"sudo {program} systemd install. To look first: cdc-bridge systemd print",
        )


def _require_same(unit: Path, text: str) -> None:
    if unit.exists() and unit.read_bytes() != text.encode():
        raise BridgeError(
            f"{unit} is there and differs from that of this version, so nothing was written",
            f"To see how: cdc-bridge systemd print | diff {unit} -. To write over it: cdc-bridge systemd install "
            "--force. What you changed in it belongs into a drop-in, which stays: systemctl edit cdc-bridge",
        )


def _write(file: Path, text: str, say: Say) -> None:
    if file.exists() and file.read_bytes() == text.encode():
        say(f"unchanged {file}")
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: it may be read at any time.
    unfinished = file.with_name(f".{file.name}.new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.chmod(0o644)
    unfinished.replace(file)
    say(f"wrote     {file}")


def _make_folder(folder: Path, mode: int, say: Say) -> None:
    """Make a folder with just these rights, whatever the umask; put them right where it is there."""
    is_new = not folder.exists()
    if is_new or stat.S_IMODE(folder.stat().st_mode) != mode:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        say(f"{'made' if is_new else 'mended':<9} {folder}, mode {mode:o}")
    else:
        say(f"unchanged {folder}")
