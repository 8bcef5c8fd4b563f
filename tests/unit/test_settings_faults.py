"""Faults in the places that settings come from; and whatever is wrong, no message repeats a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import SettingsError
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
        assert problem(file) == "CDC_BRIDGE_ENDPOINT_URL has a space or a control character in it"


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
    assert f"CDC_BRIDGE_{name.upper()}" in told or "is not TOML" in told
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
    assert [name for name in SECRET_SETTINGS if f"CDC_BRIDGE_{name.upper()} " not in errors] == []
    assert MARK not in errors
    assert "Traceback" not in errors
