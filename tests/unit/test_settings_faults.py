"""Faults in the places that settings come from; and whatever is wrong, no message repeats a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cdc_bridge import settings_sources
from cdc_bridge.checks import environment
from cdc_bridge.checks.endpoints import check_declared_endpoint
from cdc_bridge.checks.environment import check_settings_files
from cdc_bridge.checks.verdict import Verdict
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import SettingsError
from cdc_bridge.own_files import user_name
from cdc_bridge.settings_sources import load_settings
from tests.support.bridge import run_command

DATABASE = "host=localhost dbname=eres"
URL = "https://till.example/reservations"
MARK = "UNMISTAKABLE"
SECRET_SETTINGS = ("database_url", "endpoint_header", "endpoint_secret")


@pytest.fixture(autouse=True)
def enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BRIDGE_DATABASE_URL", DATABASE)
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_URL", URL)


def problem(config_file: Path | None = None) -> str:
    """Return what is said of wrong settings."""
    with pytest.raises(SettingsError) as caught:
        load_settings(config_file=config_file).endpoint()
    assert caught.value.exit_code == 78
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("CDC_BRIDGE_CONFIG_FILE", "CDC_BRIDGE_CONFIG"),
        ("CDC_BRIDGE_CONFIGURATION", "CDC_BRIDGE_CONFIG"),
        ("cdc_bridge_endpont_url", "CDC_BRIDGE_ENDPOINT_URL"),
        ("Cdc_Bridge_Endpoint_Secrt", "CDC_BRIDGE_ENDPOINT_SECRET"),
    ],
)
def test_misspelt_variable_is_told_in_any_case_and_beside_the_config_file(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, MARK)
    assert problem() == f"{name} is not a setting; did you mean {nearest}?"


def test_variable_like_no_setting_names_no_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BRIDGE_ZZZZZZZZZZZZZZZZ", MARK)
    assert problem() == "CDC_BRIDGE_ZZZZZZZZZZZZZZZZ is not a setting"


def test_misspelt_credential_is_told_and_those_of_others_are_let_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "another_service.key").write_bytes(b"\xff")
    assert load_settings().endpoint() == Endpoint(name="default", url=URL)
    (tmp_path / "cdc_bridge_endpoint_secrt").write_text(MARK)
    assert problem() == (
        "the credential cdc_bridge_endpoint_secrt is not a setting; did you mean cdc_bridge_endpoint_secret?"
    )


def test_credentials_that_cannot_be_used_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (nowhere, file, folder) = (tmp_path / "nowhere", tmp_path / "file", tmp_path / "folder")
    file.write_text(MARK)
    folder.mkdir()
    for directory, words in ((nowhere, "No such file"), (file, "Not a directory")):
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
        assert words in problem()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    (secret := folder / "cdc_bridge_endpoint_secret").write_bytes(MARK.encode() + b"\xff")
    assert problem().endswith("cannot be read: it is not UTF-8")
    secret.unlink()
    secret.mkdir()
    assert problem().endswith("cannot be read: Is a directory")


@pytest.mark.parametrize(
    "url",
    ["https://till\n.example/x", "https://till.example/a b", "https://till.example/\tx", "https://till.example/\0"],
)
def test_url_with_spaces_or_control_characters_is_refused(url: str, tmp_path: Path) -> None:
    (file := tmp_path / "config.toml").write_text(f"endpoint_url = {json.dumps(url)}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CDC_BRIDGE_ENDPOINT_URL")
        assert problem(file) == f"endpoint_url in {file} has a space or a control character in it"


@pytest.mark.parametrize("name", ["Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Connection", "Expect"])
def test_every_header_that_belongs_to_the_connection_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_HEADER", f"{name}: {MARK}")
    told = problem()
    assert f"sets {name}, which belongs to the connection" in told
    assert MARK not in told


@pytest.mark.parametrize("value", [f'"{MARK}"', f'["{MARK}", 5]', f'{{ a = "{MARK}" }}', f'[["{MARK}"]]', f"{MARK}"])
@pytest.mark.parametrize("name", SECRET_SETTINGS)
def test_wrong_value_of_a_secret_in_the_file_is_not_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CDC_BRIDGE_DATABASE_URL")
    (file := tmp_path / "config.toml").write_text(f"{name} = {value}\n")
    told = problem(file)
    assert f"{name} in {file}" in told or "is not TOML" in told
    assert MARK not in told


@pytest.mark.parametrize("place", ["environment", "credentials", "file"])
async def test_command_shows_no_secret_wherever_its_wrong_value_comes_from(place: str, tmp_path: Path) -> None:
    settings = {"CDC_BRIDGE_ENDPOINT_URL": URL}
    for name in SECRET_SETTINGS:
        if place == "environment":
            settings[f"CDC_BRIDGE_{name.upper()}"] = f"{MARK} {name}"
        elif place == "credentials":
            settings["CREDENTIALS_DIRECTORY"] = str(tmp_path)
            (tmp_path / f"cdc_bridge_{name}").write_text(f"{MARK} {name}")
    if place == "file":
        (file := tmp_path / "config.toml").write_text(
            "".join(f'{name} = "{MARK} {name}"\n' for name in SECRET_SETTINGS)
        )
        settings["CDC_BRIDGE_CONFIG"] = str(file)
    code, output, errors = await run_command("check", **settings)
    assert (code, output) == (78, "")
    for name in SECRET_SETTINGS:
        called = {
            "environment": f"CDC_BRIDGE_{name.upper()} ",
            "credentials": f"the credential cdc_bridge_{name} ",
            "file": f"{name} in {tmp_path / 'config.toml'} ",
        }
        assert called[place] in errors
    assert MARK not in errors
    assert "Traceback" not in errors


def test_faults_of_the_endpoint_and_of_other_settings_are_named_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {
        "ENDPOINT_URL": "http://example.org",
        "ENDPOINT_SECRET": "abc",
        "ENDPOINT_CA_FILE": str(tmp_path / "nowhere.pem"),
        "LOG_LEVEL": "verbose",
        "FOO": "1",
    }.items():
        monkeypatch.setenv(f"CDC_BRIDGE_{name}", value)
    told = problem().splitlines()
    assert len(told) == 5, told
    assert [line for line in told if line.startswith("CDC_BRIDGE_FOO is not a setting")]
    assert "CDC_BRIDGE_LOG_LEVEL is \"verbose\"; it has to be 'debug', 'info', 'warning' or 'error'" in told
    for name in ("SECRET", "URL", "CA_FILE"):
        assert [line for line in told if line.startswith(f"CDC_BRIDGE_ENDPOINT_{name} ")], name


def test_all_that_is_wrong_with_the_endpoint_is_named_where_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_URL", "http://example.org")
    monkeypatch.setenv("CDC_BRIDGE_ENDPOINT_CA_FILE", str(tmp_path / "nowhere.pem"))
    told = problem().splitlines()
    assert [line.split()[0] for line in told] == ["CDC_BRIDGE_ENDPOINT_CA_FILE", "CDC_BRIDGE_ENDPOINT_URL"]


@pytest.mark.parametrize("command", ["run", "check"])
async def test_commands_name_what_is_wrong_with_the_dashboard_as_well(command: str) -> None:
    settings = {"CDC_BRIDGE_WEB_TOKEN": "short", "CDC_BRIDGE_LOG_LEVEL": "verbose", "CDC_BRIDGE_FOO": "1"}
    code, _, errors = await run_command(
        command, CDC_BRIDGE_DATABASE_URL=DATABASE, CDC_BRIDGE_ENDPOINT_URL=URL, **settings
    )
    assert code == 78
    assert [name for name in settings if name not in errors] == []
    assert "short " not in errors.replace("shorter ", "")


async def test_run_names_all_that_is_wrong_though_each_setting_can_be_read(tmp_path: Path) -> None:
    settings = {
        "CDC_BRIDGE_ENDPOINT_URL": "http://example.org",
        "CDC_BRIDGE_SECRETS_KEY_FILE": str(tmp_path / "nowhere.key"),
        "CDC_BRIDGE_WEB_TOKEN": "short",
        "CDC_BRIDGE_WEB_ADDRESS": "here",
    }
    code, _, errors = await run_command("run", CDC_BRIDGE_DATABASE_URL=DATABASE, **settings)
    assert code == 78
    assert [name for name in settings if name not in errors] == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('endpoint_timeout_seconds = "soon"', 'is "soon"; it has to be a number'),
        ("web_port = 1.5", "is 1.5; it has to be a whole number"),
        ('allow_http = "perhaps"', 'is "perhaps"; it has to be true or false'),
        ("lease_seconds = 0", "is 0; it has to be greater than or equal to 1"),
        ("web_token = 5", "has to be a text in quotes"),
    ],
)
def test_wrong_value_is_named_with_its_file(line: str, told: str, tmp_path: Path) -> None:
    (file := tmp_path / "config.toml").write_text(line)
    assert problem(file) == f"{line.split(maxsplit=1)[0]} in {file} {told}"


@pytest.mark.parametrize("password", ["ri@ght", "ri/ght", "ri/ght@x"])
def test_password_that_ends_too_early_in_a_url_is_not_shown(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BRIDGE_DATABASE_URL", f"postgresql://cdc_bridge:{password}@127.0.0.1:5432/eres")
    told = problem()
    assert "write a" in told
    assert "%40" in told or "%2F" in told
    assert "ght" not in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://cdc_bridge:ri%40ght@[::1]:5432/eres",
        "postgres://localhost:5432,other:5433/e@res",
        "postgresql://[::1]:5432/eres@x",
        "postgresql:///eres?host=/run/postgresql&user=a@b",
        "host=localhost password=ri@ght dbname=eres",
    ],
)
def test_url_with_escapes_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_BRIDGE_DATABASE_URL", url)
    load_settings()


def test_credential_of_the_service_is_named_with_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (folder := tmp_path / "cdc-bridge.service").mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    monkeypatch.delenv("CDC_BRIDGE_DATABASE_URL")
    (folder / "cdc_bridge_database_url").write_text("nonsense")
    assert problem().startswith(
        "the credential cdc_bridge_database_url (/etc/cdc-bridge/credentials/database_url) is not a libpq conninfo"
    )
    (folder / "cdc_bridge_database_url").write_text(DATABASE)
    (folder / "cdc_bridge_endpoint_secrt").write_text(MARK)
    assert problem().startswith(
        "the credential cdc_bridge_endpoint_secrt (/etc/cdc-bridge/credentials/endpoint_secrt) is not a setting"
    )


def test_missing_address_of_the_database_names_the_way_through_the_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CDC_BRIDGE_DATABASE_URL")
    monkeypatch.setattr(settings_sources, "UNIT_FILE", tmp_path / "cdc-bridge.service")
    monkeypatch.setattr(settings_sources, "CREDENTIALS_FOLDER", tmp_path)
    assert "systemd exec" not in problem()
    (tmp_path / "cdc-bridge.service").touch()
    assert problem().endswith("For the service on this machine, as root: cdc-bridge systemd exec status")


def test_settings_file_that_its_reader_cannot_read_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (file := tmp_path / "config.toml").touch()

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert f"the settings file {file} cannot be read by user {user_name()}: Permission denied" in problem(file)
    monkeypatch.setattr(settings_sources, "DEFAULT_CONFIG", file)
    told = problem(file)
    assert f"chmod 644 {file}. Secrets belong in /etc/cdc-bridge/credentials." in told
    assert "Errno" not in told


def test_exposed_secret_in_the_service_s_file_is_to_be_moved_and_the_file_stays_readable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (file := tmp_path / "config.toml").write_text('web_token = "to see and change everything"\n')
    file.chmod(0o644)
    monkeypatch.setattr(environment, "DEFAULT_CONFIG", file)
    told = check_settings_files(load_settings(config_file=file)).remedy
    assert "chmod" not in told
    assert told == (
        f"Move web_token out of {file}, into /etc/cdc-bridge/credentials/web_token, and make a new one: who may have "
        "read it knows it."
    )


def test_exposed_secret_in_a_file_of_the_reader_s_own_is_closed(tmp_path: Path) -> None:
    (file := tmp_path / "config.toml").write_text('web_token = "to see and change everything"\n')
    file.chmod(0o644)
    told = check_settings_files(load_settings(config_file=file)).remedy
    assert told == f"Run: chmod g-r,o-r {file}. Who may have read them knows the secrets: change them."


def test_requests_are_not_said_to_be_unsigned_where_the_service_has_the_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings_sources, "CREDENTIALS_FOLDER", tmp_path)
    monkeypatch.setattr(settings_sources, "UNIT_FILE", tmp_path / "cdc-bridge.service")
    assert "requests are not signed" in check_declared_endpoint(load_settings()).detail
    (tmp_path / "cdc-bridge.service").touch()
    found = check_declared_endpoint(load_settings())
    assert found.verdict is Verdict.SKIPPED
    assert "not signed" not in found.detail
    assert found.remedy == "As root: cdc-bridge systemd exec check"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert "requests are not signed" in check_declared_endpoint(load_settings()).detail
