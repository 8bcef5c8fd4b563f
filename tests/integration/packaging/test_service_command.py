"""``cdc-bridge systemd exec`` runs a command as the service's process has it; systemctl is scripted here."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_bridge.errors import BridgeError
from cdc_bridge.packaging.service_command import person, run_as_service, service_process
from tests.support.bridge import run_command, run_command_with
from tests.support.databases import Database
from tests.support.launcher import PROJECT

NOBODY = pwd.getpwnam("nobody").pw_uid
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def user_id() -> int:
    """Another user; root, if no other one can run this Python or read this folder."""
    command = [sys.executable, "-c", "import cdc_bridge, psycopg"]
    try:
        subprocess.run(command, user=NOBODY, cwd="/", env={"PYTHONPATH": str(PROJECT)}, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    return NOBODY


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which systemctl comes first."""
    return f"{tmp_path}:{os.environ['PATH']}"


def script_systemctl(tmp_path: Path, *lines: str) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)


@pytest.fixture
def service(database: Database, user_id: int, tmp_path: Path) -> Iterator[str]:
    """A process with the environment of a service; yields its user's name."""
    environment = {
        "PYTHONPATH": str(PROJECT),
        "CDC_BRIDGE_DATABASE_URL": database.bridge_url,
        "HTTPS_PROXY": "http://proxy:3128",
        "NOTIFY_SOCKET": "/run/systemd/notify",
    }
    with subprocess.Popen(["/bin/sleep", "600"], user=user_id, env=environment) as process:
        script_systemctl(tmp_path, "LoadState=loaded", f"MainPID={process.pid}")
        yield pwd.getpwuid(user_id).pw_name
        process.kill()


@needs_root
async def test_command_has_the_service_s_settings_and_the_audit_log_the_person(
    service: str, database: Database, path: str
) -> None:
    exec_ = ("systemd", "exec")
    code, _, errors = await run_command(*exec_, "endpoint", "list", PATH=path, SUDO_USER="anna")
    assert (code, errors) == (0, "")
    code, _, errors = await run_command_with(
        b"x-api-key: let-me-in\n",
        *(*exec_, "endpoint", "add", "till", "https://till.example/", "--header-file", "-"),
        PATH=path,
        SUDO_USER="anna",
    )
    assert (code, errors) == (0, "")
    assert database.value("select headers[1] from cdc_bridge.endpoint where name = 'till'") == "x-api-key: let-me-in"
    assert database.value("select who from cdc_bridge.audit order by audit_id desc limit 1").startswith(
        f"anna as {service}@"
    )
    code, _, errors = await run_command(*exec_, "endpoint", "show", "bar", PATH=path)
    assert code == 1
    assert "bar" in errors
    assert (await run_command(*exec_, "endpoint", "nonsense", PATH=path))[0] == 2


@needs_root
async def test_its_files_are_not_readable_for_the_service_s_user(service: str, path: str, tmp_path: Path) -> None:
    if service == "root":
        pytest.skip("other users cannot run this Python, or read this folder")
    (file := tmp_path / "headers").write_text("x-api-key: let-me-in\n")
    file.chmod(0o600)
    code, _, errors = await run_command(
        *("systemd", "exec", "endpoint", "add", "till", "https://till.example/", "--header-file", str(file)), PATH=path
    )
    assert code == 2
    assert f"--header-file {file} cannot be read by user nobody: Permission denied" in errors
    assert f"Pass it on standard input: --header-file - < {file}" in errors


@needs_root
@pytest.mark.parametrize(
    ("lines", "told", "remedy"),
    [
        ((), "there is no service cdc-bridge.service", "cdc-bridge systemd install"),
        (("LoadState=not-found", "MainPID=0"), "there is no service cdc-bridge.service", "cdc-bridge systemd install"),
        (("LoadState=loaded", "MainPID=0"), "does not run", "systemctl start cdc-bridge"),
        (("LoadState=loaded", "MainPID=4194305"), "ended just now", "systemctl status cdc-bridge"),
    ],
)
async def test_service_that_does_not_run_is_said(
    lines: tuple[str, ...], told: str, remedy: str, path: str, tmp_path: Path
) -> None:
    script_systemctl(tmp_path, *lines)
    code, output, errors = await run_command("systemd", "exec", "status", PATH=path)
    assert (code, output) == (1, "")
    assert told in errors
    assert remedy in errors


def test_machine_without_systemd_and_another_user_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BridgeError, match="there is no systemd on this machine"):
        run_as_service(["status"])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BridgeError, match=r"only root(.|\n)*sudo cdc-bridge systemd exec status"):
        run_as_service(["status"])


def test_environment_is_the_process_s_without_what_is_its_own_alone(tmp_path: Path) -> None:
    (folder := tmp_path / "17").mkdir()
    (folder / "status").write_text("Name:\tcdc-bridge\nUid:\t7\t8\t8\t8\nGid:\t9\t10\t10\t10\nGroups:\t10 11 \n")
    (folder / "environ").write_bytes(b"CREDENTIALS_DIRECTORY=/run/x\0HTTPS_PROXY=http://p=1\0WATCHDOG_USEC=3\0")
    found = service_process(17, tmp_path)
    assert (found.user_id, found.group_id, found.groups) == (8, 10, [10, 11])
    assert found.environment == {"CREDENTIALS_DIRECTORY": "/run/x", "HTTPS_PROXY": "http://p=1"}


def test_person_is_who_called_sudo_or_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (login := tmp_path / "loginuid").write_text(str(NOBODY))
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert person(login) == "nobody"
    login.write_text(str(2**32 - 1))
    assert person(login) == person(tmp_path / "nothing") == pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setenv("SUDO_USER", "anna")
    assert person(login) == "anna"


async def test_commands_about_the_service_itself_are_run_as_they_are(path: str) -> None:
    assert await run_command("systemd", "exec", "systemd", "print") == await run_command("systemd", "print")
