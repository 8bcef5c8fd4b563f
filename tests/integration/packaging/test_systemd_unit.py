"""The service's files are right, are written so that nothing is lost, and lead to settings that the daemon reads."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from base64 import b64encode
from pathlib import Path

import pytest

from cdc_bridge.errors import BridgeError, SettingsError, WrongUsage
from cdc_bridge.packaging import service_files
from cdc_bridge.packaging.service_files import (
    KEYS_FOLDER,
    Target,
    check_service_can_run,
    this_program,
    unit_text,
    write_service_files,
)
from cdc_bridge.packaging.settings_example import has_default, is_secret, settings_example
from cdc_bridge.settings import Settings
from cdc_bridge.settings_sources import CREDENTIALS_FOLDER, DEFAULT_CONFIG, UNIT_FILE, load_settings
from tests.support.bridge import run_command

PROGRAM = Path(sys.executable).parent / "cdc-bridge"
UNIT = unit_text(PROGRAM)
SECRET, PREVIOUS_SECRET = ("whsec_" + b64encode(letter * 32).decode() for letter in (b"s", b"p"))
DATABASE_URL = "host=localhost port=1 dbname=eres user=cdc_bridge"
OF_THE_UNIT = dict(re.findall(r"^(\w+)=(.*)$", UNIT, flags=re.MULTILINE))
CREDENTIALS = dict(pair.split(":") for pair in re.findall(r"^LoadCredential=(.*)$", UNIT, flags=re.MULTILINE))
OFFLINE_SECURITY_SINCE = 250


@pytest.fixture
def unit_file(tmp_path: Path) -> Path:
    (file := tmp_path / "cdc-bridge.service").write_text(UNIT)
    return file


@pytest.fixture
def systemd_analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze here; on Debian: apt-get install systemd")
    version = int(subprocess.check_output([program, "--version"], text=True).split()[1])
    if version < OFFLINE_SECURITY_SINCE:
        pytest.skip(f"systemd-analyze {version} judges no file; that needs {OFFLINE_SECURITY_SINCE}")
    return program


def analysed(*arguments: str | Path) -> str:
    ran = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def written(root: Path, *, force: bool = False) -> str:
    """Write the files below a folder; return what was said."""
    said: list[str] = []
    write_service_files(Target(root, PROGRAM), said.append, force=force)
    return "\n".join(said)


def below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_systemd_finds_no_fault_with_the_unit(systemd_analyze: str, unit_file: Path) -> None:
    assert not analysed(systemd_analyze, "verify", "--man=no", unit_file)


def test_systemd_finds_it_exposed_at_2_at_most(systemd_analyze: str, unit_file: Path) -> None:
    told = analysed(systemd_analyze, "security", "--offline=true", "--no-pager", "--threshold=20", unit_file)
    assert float(re.findall(r"exposure level for .*: ([0-9.]+)", told)[0]) <= 2


def test_it_starts_this_program_and_needs_no_setting_in_the_unit() -> None:
    assert f"\nExecStart={PROGRAM} run\n" in UNIT
    assert "CDC_BRIDGE_" not in UNIT  # What stands in the environment would go before the settings file.
    assert this_program() == PROGRAM


def test_calls_under_way_can_finish_before_it_is_killed() -> None:
    assert float(OF_THE_UNIT["TimeoutStopSec"]) >= Settings.model_fields["shutdown_timeout_seconds"].default + 10


def test_it_is_started_anew_but_for_what_no_new_start_mends() -> None:
    assert OF_THE_UNIT["Restart"] == "always"
    assert OF_THE_UNIT["StartLimitIntervalSec"] == "0"
    never = set(map(int, OF_THE_UNIT["RestartPreventExitStatus"].split()))
    assert never == {SettingsError.exit_code, WrongUsage.exit_code}


def test_all_that_it_names_as_a_setting_or_a_folder_is_one() -> None:
    named = set(re.findall(r"\b[a-z_]+_(?:url|secret|header|token|seconds)\b", UNIT))
    assert named == {"database_url", "endpoint_secret", "endpoint_header", "web_token", "shutdown_timeout_seconds"}
    assert named <= Settings.model_fields.keys()
    folders = [str(CREDENTIALS_FOLDER), str(KEYS_FOLDER)]
    assert list(CREDENTIALS.values()) == folders
    assert re.findall(r"^AssertPathIsDirectory=(.*)$", UNIT, flags=re.MULTILINE) == folders


async def test_secrets_are_read_from_the_files_that_unit_and_example_name(tmp_path: Path) -> None:
    files = re.findall(r"^# A secret; its file: (.*)$", settings_example(), flags=re.MULTILINE)
    values = {
        "database_url": DATABASE_URL,
        "endpoint_secret": SECRET,
        "endpoint_previous_secret": PREVIOUS_SECRET,
        "endpoint_header": "authorization: Bearer xyz",
        "web_token": "to see and change everything",
        "web_api_token": "for programs that change everything",
        "alert_url": "https://chat.example/hooks/x",
    }
    assert {Path(file).name for file in files} == set(values)
    for file in map(Path, files):
        # systemd names the credentials of a folder so: its id, an underscore, the file.
        id_of_folder = {folder: id_ for id_, folder in CREDENTIALS.items()}[str(file.parent)]
        (tmp_path / f"{id_of_folder}_{file.name}").write_text(values[file.name] + "\n")
    (tmp_path / "tls_till.pem").write_text("what is no setting")
    _, output, errors = await run_command(
        "check", CREDENTIALS_DIRECTORY=str(tmp_path), CDC_BRIDGE_ENDPOINT_URL="https://till.example/reservations"
    )
    assert not errors
    assert re.search(
        r"✓ settings +endpoint default, https://till.example/reservations; a rotation is in progress: ", output
    )
    assert "nothing listens at " in output


def test_example_has_every_setting_once_and_shows_no_line_for_a_secret() -> None:
    lines = re.findall(r"^#(\w+) = ", settings_example(), flags=re.MULTILINE)
    assert lines == [name for name, field in Settings.model_fields.items() if not is_secret(field)]
    assert tomllib.loads(settings_example()) == {}


def test_example_loads_with_all_its_defaults_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CDC_BRIDGE_DATABASE_URL", DATABASE_URL)
    (file := tmp_path / "config.toml").write_text(
        re.sub(r'^#(?=\w+ = (?!"\.\.\.))', "", settings_example(), flags=re.MULTILINE)
    )
    loaded = load_settings(config_file=file)
    assert loaded.model_dump() == load_settings(config_file=Path(os.devnull)).model_dump()
    with_default = {name for name, field in Settings.model_fields.items() if has_default(field)}
    assert loaded.model_fields_set == with_default | {"database_url"}


def test_files_are_written_with_their_rights_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        said = written(tmp_path)
    finally:
        os.umask(before)
    paths = {UNIT_FILE: 0o644, DEFAULT_CONFIG: 0o644, DEFAULT_CONFIG.parent: 0o755} | dict.fromkeys(
        (CREDENTIALS_FOLDER, KEYS_FOLDER), 0o700
    )
    for path, mode in paths.items():
        assert mode_of(below(tmp_path, path)) == mode
        assert str(below(tmp_path, path)) in said
    assert below(tmp_path, UNIT_FILE).read_text() == UNIT
    assert below(tmp_path, DEFAULT_CONFIG).read_text() == settings_example()
    assert not list(tmp_path.rglob("*.new"))


def test_installing_again_changes_nothing_but_what_was_opened(tmp_path: Path) -> None:
    assert "Write the database URL into /etc/cdc-bridge/credentials/database_url" in written(tmp_path)
    below(tmp_path, DEFAULT_CONFIG).write_text("batch_size = 7\n")
    credentials = below(tmp_path, CREDENTIALS_FOLDER)
    (credentials / "database_url").write_text(DATABASE_URL)
    credentials.chmod(0o755)
    said = written(tmp_path)
    assert "wrote" not in said
    assert f"corrected {credentials}, mode 700" in said
    assert said.endswith("systemctl daemon-reload && systemctl restart cdc-bridge")
    assert below(tmp_path, DEFAULT_CONFIG).read_text() == "batch_size = 7\n"
    assert (credentials / "database_url").read_text() == DATABASE_URL
    assert mode_of(credentials) == 0o700
    said = written(tmp_path)
    assert "Left to do" not in said
    assert said.endswith("Nothing to do. After an upgrade of the package: systemctl restart cdc-bridge")


def test_other_unit_is_written_over_only_by_force(tmp_path: Path) -> None:
    unit = below(tmp_path, UNIT_FILE)
    unit.parent.mkdir(parents=True)
    unit.write_text("another")
    with pytest.raises(BridgeError, match=r"differs from the unit of this version(.|\n)*--force"):
        written(tmp_path)
    assert unit.read_text() == "another"
    assert list(tmp_path.rglob("config.toml")) == []
    assert f"wrote     {unit}" in written(tmp_path, force=True)
    assert unit.read_text() == UNIT


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BridgeError, match=r"only root can write to /etc(.|\n)*sudo"):
        written(Path("/"))


async def test_folder_that_cannot_be_written_is_said_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("no folder")
    code, _, errors = await run_command("systemd", "install", "--root", str(tmp_path))
    assert (code, "Traceback" in errors) == (1, False)
    assert f"{tmp_path / 'etc'}" in errors


def test_program_that_the_service_could_not_start_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for hidden in ("/root/venv/bin/cdc-bridge", "/home/ann/venv/bin/cdc-bridge", "/tmp/venv/bin/cdc-bridge"):
        with pytest.raises(BridgeError, match=f"{hidden} is hidden from the service"):
            check_service_can_run(Path(hidden))
    with pytest.raises(BridgeError) as raised:
        check_service_can_run(Path("/root/.pyenv/versions/3.11.7/bin/python3.11"))
    assert "rm -r /opt/cdc-bridge; /usr/bin/python3 -m venv /opt/cdc-bridge" in raised.value.remedy
    monkeypatch.setattr(service_files, "_HIDDEN_FROM_SERVICE", ())
    (program := tmp_path / "cdc-bridge").touch()
    tmp_path.chmod(0o700)
    with pytest.raises(BridgeError, match="cannot read /"):
        check_service_can_run(program)
    check_service_can_run(Path("/bin/sh").resolve())


def test_path_that_a_unit_would_not_take_as_it_is_is_refused() -> None:
    for path in ("/opt/my bridge/cdc-bridge", "/opt/100%/cdc-bridge", "/opt/$x/cdc-bridge"):
        with pytest.raises(BridgeError, match="characters"):
            unit_text(Path(path))


async def test_print_shows_what_install_writes(tmp_path: Path) -> None:
    code, said, errors = await run_command("systemd", "install", "--root", str(tmp_path))
    assert (code, errors) == (0, "")
    assert "systemctl enable --now cdc-bridge" in said
    assert await run_command("systemd", "print") == (0, below(tmp_path, UNIT_FILE).read_text(), "")
    assert await run_command("systemd", "print", "--settings") == (0, below(tmp_path, DEFAULT_CONFIG).read_text(), "")
