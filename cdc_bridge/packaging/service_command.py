"""Runs a command as the service of this machine does: as its user, with its environment and its secrets.

systemd hands the secrets to the running service alone. So what a command needs is taken from the service's main
process, as root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cdc_bridge.errors import BridgeError
from cdc_bridge.own_files import user_name
from cdc_bridge.settings_sources import UNIT

PERSON_VARIABLE = "SUDO_USER"
"""Who became another user, for the audit log."""
_OF_THE_PROCESS_ALONE = frozenset(
    {
        *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM", "MAINPID"),
        *("SYSTEMD_EXEC_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "PYTHONFAULTHANDLER"),
    }
)
_OF_THE_TERMINAL = ("TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
_NO_LOGIN = 2**32 - 1


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """What a command takes from the service's main process."""

    user_id: int
    group_id: int
    groups: Sequence[int]
    environment: dict[str, str]


def run_as_service(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a command of cdc-bridge that runs as the service does.

    Raises:
        BridgeError: This is not root, there is no service, it does not run, or its user cannot run this program.
    """
    # Not from the working folder: whoever can write there would have the service's secrets.
    command = [sys.executable, "-P", "-m", "cdc_bridge", *arguments]
    if arguments[0] == "systemd":  # It concerns the service, and is no command of it: an alias may have led here.
        os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted
    if os.geteuid() != 0:
        raise BridgeError(
            "only root can run a command as the service", f"sudo cdc-bridge systemd exec {' '.join(arguments[:1])}"
        )
    service = service_process(_main_process())
    terminal = {name: os.environ[name] for name in _OF_THE_TERMINAL if name in os.environ}
    environment = service.environment | terminal | {PERSON_VARIABLE: person()}
    os.setgroups(service.groups)
    os.setgid(service.group_id)
    os.setuid(service.user_id)
    try:
        os.execve(sys.executable, command, environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise BridgeError(
            f"user {user_name()} cannot run {sys.executable}: {error.strerror}",
            "Run the cdc-bridge that the service runs: /opt/cdc-bridge/bin/cdc-bridge",
        ) from None


def _main_process() -> int:
    """Return the process id of the running service.

    Raises:
        BridgeError: There is none.
    """
    program = shutil.which("systemctl")
    if program is None:
        raise BridgeError("there is no systemd on this machine, so there is no service to run a command as")
    asked = [program, "show", "--property=LoadState,MainPID", UNIT]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 - all of it is ours
    properties = dict(line.partition("=")[::2] for line in found.stdout.splitlines())
    if properties.get("LoadState") != "loaded":
        raise BridgeError(f"there is no service {UNIT} on this machine", "Install it: cdc-bridge systemd install")
    if (process_id := int(properties.get("MainPID") or 0)) == 0:
        raise BridgeError(
            f"{UNIT} does not run, and systemd hands its secrets to a running service only",
            "systemctl start cdc-bridge. If it does not start: journalctl -u cdc-bridge",
        )
    return process_id


def service_process(process_id: int, proc: Path = Path("/proc")) -> ServiceProcess:
    """Return what a command takes from a process.

    Raises:
        BridgeError: It has ended.
    """
    folder = proc / str(process_id)
    try:
        status = dict(line.partition(":")[::2] for line in (folder / "status").read_text().splitlines())
        raw = (folder / "environ").read_bytes()
    except OSError:
        raise BridgeError(f"{UNIT} ended just now", "systemctl status cdc-bridge") from None
    variables = dict(os.fsdecode(each).partition("=")[::2] for each in raw.split(b"\0") if each)
    return ServiceProcess(
        user_id=int(status["Uid"].split()[1]),
        group_id=int(status["Gid"].split()[1]),
        groups=[int(group) for group in status["Groups"].split()],
        environment={name: value for name, value in variables.items() if name not in _OF_THE_PROCESS_ALONE},
    )


def person(login: Path = Path("/proc/self/loginuid")) -> str:
    """Return who runs this command: who called sudo, or who logged in."""
    if before := os.environ.get(PERSON_VARIABLE):
        return before
    try:
        user_id = int(login.read_text())
    except (OSError, ValueError):
        user_id = _NO_LOGIN
    return user_name(os.getuid() if user_id == _NO_LOGIN else user_id)
