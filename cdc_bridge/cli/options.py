"""What several commands have: options, the settings they lead to, and JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cdc_bridge.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file in TOML; else $CDC_BRIDGE_CONFIG, else /etc/cdc-bridge/config.toml."),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="How to reach the database, without a password: that belongs into CDC_BRIDGE_DATABASE_URL, ~/.pgpass "
        "or a systemd credential.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def settings_from(config: Path | None, database_url: str | None, **flags: Any) -> Settings:
    """Load the settings for a command.

    Raises:
        SettingsError: they are wrong, or a password stands on the command line.
    """
    from cdc_bridge.settings_sources import load_settings  # noqa: PLC0415

    if database_url is not None:
        _refuse_password(database_url)
    return load_settings({"database_url": database_url, **flags}, config)


def database_url_from(config: Path | None, database_url: str | None) -> str:
    """Return how to reach the database, for a command that needs no more.

    Raises:
        SettingsError: as of :func:`settings_from`.
    """
    return settings_from(config, database_url).database_url.get_secret_value()


def print_json(value: object) -> None:
    """Print a value as JSON, times in UTC."""
    typer.echo(json.dumps(value, indent=2, default=_utc))


def json_line(value: object) -> str:
    """Return a value as JSON on one line, times in UTC."""
    return json.dumps(value, default=_utc)


def _utc(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(type(value).__name__)
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _refuse_password(database_url: str) -> None:
    from cdc_bridge.errors import SettingsError  # noqa: PLC0415
    from cdc_bridge.settings import conninfo_parameters  # noqa: PLC0415

    try:
        has_password = bool(conninfo_parameters(database_url).get("password"))
    except ValueError as error:
        raise SettingsError(f"--database-url {error}") from None
    if has_password:
        raise SettingsError(
            "--database-url has a password in it, and every user of this machine can read a command line",
            "Put it into the environment (CDC_BRIDGE_DATABASE_URL), into ~/.pgpass or into a systemd credential.",
        )
