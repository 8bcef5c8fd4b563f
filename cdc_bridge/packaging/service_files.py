"""Files of the systemd service: unit, settings and folders for secrets.

Nothing that a person may have changed is overwritten: the settings file never, the unit only with ``force``. So the
installation is safe to repeat, also after an upgrade.
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
from cdc_bridge.own_files import refuse_link, write_own
from cdc_bridge.packaging.settings_example import settings_example
from cdc_bridge.settings_sources import CREDENTIALS_FOLDER, DEFAULT_CONFIG, UNIT, UNIT_FILE

KEYS_FOLDER = Path("/etc/cdc-bridge/tls")

_PROGRAM = "cdc-bridge"
_MAKE_IT = "/usr/bin/python3 -m venv /opt/cdc-bridge; /opt/cdc-bridge/bin/pip install ./cdc_bridge-*.whl"
_INSTALL_IT = f"Install it: {_MAKE_IT}"
_MAKE_IT_ANEW = f"Make the environment with the system's Python: rm -r /opt/cdc-bridge; {_MAKE_IT}"
_AFTER_FIRST_INSTALLATION = f"""
Left to do:
  1. Write the database URL into {CREDENTIALS_FOLDER}/database_url. If the database is on this machine:
     echo 'host=/run/postgresql dbname=eres user=cdc_bridge' > {CREDENTIALS_FOLDER}/database_url
  2. Set endpoint_url in {DEFAULT_CONFIG}. Write the signing secret and the header into
     {CREDENTIALS_FOLDER}/endpoint_secret and endpoint_header.
  3. systemctl daemon-reload && systemctl enable --now cdc-bridge
  4. cdc-bridge systemd exec check. If the service did not start: journalctl -u cdc-bridge"""
_AFTER_UPGRADE = """
Left to do: systemctl daemon-reload && systemctl restart cdc-bridge"""
_AFTER_NOTHING = """
Nothing to do. After an upgrade of the package: systemctl restart cdc-bridge"""

_EXEC_START = re.compile(r"^ExecStart=\S+", re.MULTILINE)
_UNIT_SAFE_PATH = re.compile(r"[\w/.+@-]+", re.ASCII)
_HIDDEN_FROM_SERVICE = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
_OTHERS_EXECUTE, _OTHERS_READ = stat.S_IXOTH, stat.S_IROTH

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the files are written, and the program that the unit starts."""

    root: Path
    """Root folder: ``/``, or that of an image or package being built."""
    program: Path

    @property
    def is_this_machine(self) -> bool:
        """Whether the service is installed on this machine."""
        return self.root.resolve() == Path("/")

    def path(self, absolute: Path) -> Path:
        """Return an absolute path of the service's machine below the root folder."""
        return self.root / absolute.relative_to("/")


def this_program() -> Path:
    """Return the path of the installed ``cdc-bridge``.

    Raises:
        BridgeError: The package is not installed, but run from its folder.
    """
    program = Path(sysconfig.get_path("scripts"), _PROGRAM)
    if program.exists():
        return program
    started = Path(sys.argv[0]).absolute()
    if started.name == _PROGRAM and started.exists():
        return started
    raise BridgeError(
        f"cdc-bridge is not installed: there is no {program}",
        _INSTALL_IT,
    )


def unit_text(program: Path) -> str:
    """Return the unit file.

    Args:
        program: The program that it starts.

    Raises:
        BridgeError: The program's path contains characters that are special in a unit file.
    """
    if not _UNIT_SAFE_PATH.fullmatch(str(program)):
        raise BridgeError(f"the path {program} contains characters that are special in a unit file", _INSTALL_IT)
    template = files("cdc_bridge").joinpath("packaging", UNIT).read_text(encoding="utf-8")
    return _EXEC_START.sub(f"ExecStart={program}", template)


def write_service_files(target: Target, say: Say, *, force: bool) -> None:
    """Write what is missing.

    Args:
        target: Where to write.
        say: Called with a line for each file, and with what is left to do.
        force: Overwrite a unit file that differs.

    Raises:
        BridgeError: The files cannot be written, the unit file differs, or the service could not start the program.
    """
    unit, text = target.path(UNIT_FILE), unit_text(target.program)
    if target.is_this_machine:
        _require_root(target.program)
        check_service_can_run(target.program, Path(cdc_bridge.__file__), Path(sys.executable).resolve())
    said: list[str] = []

    def note(line: str) -> None:
        said.append(line)
        say(line)

    config, credentials = target.path(DEFAULT_CONFIG), target.path(CREDENTIALS_FOLDER)
    try:
        if not force:
            _require_same(unit, text)
        _write(unit, text, note)
        _make_folder(config.parent, 0o755, note)
        if config.exists():
            note(f"kept      {config}")
        else:
            _write(config, settings_example(), note)
        _make_folder(credentials, 0o700, note)
        _make_folder(target.path(KEYS_FOLDER), 0o700, note)
        is_set_up = (credentials / "database_url").exists()
    except OSError as error:
        raise BridgeError(f"{error.filename} cannot be read or written: {error.strerror}") from error
    left = _AFTER_UPGRADE if is_set_up else _AFTER_FIRST_INSTALLATION
    if is_set_up and all(line.startswith(("unchanged", "kept")) for line in said):
        left = _AFTER_NOTHING
    for line in left.splitlines():
        say(line)


def check_service_can_run(*paths: Path) -> None:
    """Check that the service can read files: it runs as an ordinary user, without access to home folders.

    Raises:
        BridgeError: It cannot.
    """
    for path in paths:
        if any(path.is_relative_to(folder) for folder in _HIDDEN_FROM_SERVICE):
            remedy = _INSTALL_IT if path.name == _PROGRAM else _MAKE_IT_ANEW
            raise BridgeError(f"{path} is hidden from the service, so nothing was written", remedy)
        closed = [parent for parent in path.parents if not parent.stat().st_mode & _OTHERS_EXECUTE]
        if closed or not path.stat().st_mode & _OTHERS_READ:
            raise BridgeError(
                f"the service's user cannot read {closed[-1] if closed else path}, so nothing was written",
                f"{_INSTALL_IT}; all of it with umask 022",
            )


def _require_root(program: Path) -> None:
    if os.geteuid() != 0:
        raise BridgeError(
            "only root can write to /etc, so nothing was written",
            f"sudo {program} systemd install. To see the unit first: cdc-bridge systemd print",
        )


def _require_same(unit: Path, text: str) -> None:
    if unit.exists() and unit.read_bytes() != text.encode():
        raise BridgeError(
            f"{unit} differs from the unit of this version, so nothing was written",
            f"Compare: cdc-bridge systemd print | diff {unit} -. Overwrite it: cdc-bridge systemd install --force. "
            "Keep your changes in a drop-in, which an upgrade leaves alone: systemctl edit cdc-bridge",
        )


def _write(file: Path, text: str, say: Say) -> None:
    if file.exists() and file.read_bytes() == text.encode():
        say(f"unchanged {file}")
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_own(file, text.encode(), 0o644)
    say(f"wrote     {file}")


def _make_folder(folder: Path, mode: int, say: Say) -> None:
    """Create a folder with this mode, whatever the umask; correct the mode of an existing one."""
    refuse_link(folder)
    is_new = not folder.exists()
    if is_new or stat.S_IMODE(folder.stat().st_mode) != mode:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        say(f"{'created' if is_new else 'corrected':<9} {folder}, mode {mode:o}")
    else:
        say(f"unchanged {folder}")
