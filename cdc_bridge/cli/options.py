"""Options that several commands have, and the settings they lead to."""

from __future__ import annotations

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


def settings_from(config: Path | None, database_url: str | None, **flags: Any) -> Settings:
    """Load the settings for a command.

    Raises:
        SettingsError: they are wrong, or a password stands on the command line.
    """
    from cdc_bridge.settings import load_settings  # noqa: PLC0415

    if database_url is not None:
        _refuse_password(database_url)
    return load_settings({"database_url": database_url, **flags}, config)


def database_url_from(config: Path | None, database_url: str | None) -> str:
    """Return how to reach the database, for a command that needs no more.

    Raises:
        SettingsError: as of :func:`settings_from`.
    """
    return settings_from(config, database_url).database_url.get_secret_value()


def _refuse_password(database_url: str) -> None:
    import psycopg  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    from cdc_bridge.errors import SettingsError  # noqa: PLC0415

    try:
        parameters = conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        raise SettingsError(
            "--database-url is not a libpq conninfo",
            "Write postgresql://user@host/database or host=... dbname=... user=...",
        ) from None
    if parameters.get("password"):
        raise SettingsError(
            "--database-url has a password in it, and every user of this machine can read a command line",
            "Put it into the environment (CDC_BRIDGE_DATABASE_URL), into ~/.pgpass or into a systemd credential.",
        )
