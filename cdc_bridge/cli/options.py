"""Options, settings and JSON output that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cdc_bridge.errors import SettingsError
from cdc_bridge.model import ReservationId
from cdc_bridge.settings import Settings, conninfo_parameters
from cdc_bridge.settings_sources import Judgement, load_settings

_SETTINGS = "Settings"
"""Panel of the help."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Settings file (TOML). Default: $CDC_BRIDGE_CONFIG, or /etc/cdc-bridge/config.toml.",
        rich_help_panel=_SETTINGS,
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="Connection URL of role cdc_bridge, without a password. Set the password in CDC_BRIDGE_DATABASE_URL, "
        "~/.pgpass or a systemd credential.",
        metavar="URL",
        rich_help_panel=_SETTINGS,
    ),
]
DbaDatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="Connection URL of a DBA's role, without a password. Default: CDC_BRIDGE_DATABASE_URL, or what psql "
        "takes: PGDATABASE, PGHOST, PGPORT, PGUSER, PGPASSWORD, PGSERVICE and ~/.pgpass.",
        metavar="URL",
        rich_help_panel=_SETTINGS,
    ),
]
"""Of commands that a DBA runs. All others work as the daemon's role, which no variable of psql's names by accident."""
_OF_PSQL_S_VARIABLES = "application_name=cdc-bridge"
"""A conninfo that leaves address, database and role to libpq."""
_LIFETIME = re.compile(r"([0-9]{1,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def reservation_key(text: str) -> ReservationId:
    """Return a reservation's key as it was typed: it may have any characters, and none at all."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("is not UTF-8") from None
    return ReservationId(text)


def lifetime(text: str) -> timedelta:
    """Return a lifetime as it was typed, such as 90d."""
    match = _LIFETIME.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter("is not a number of minutes, hours, days or weeks, such as 90d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def settings_from(
    config: Path | None, database_url: str | None, *, judgements: Sequence[Judgement] = (), **flags: Any
) -> Settings:
    """Load the settings for a command.

    Args:
        config: The settings file, if one was named.
        database_url: The database's URL, if one was given.
        judgements: How the command judges settings later: with what is wrong already, their findings are named at once.
        flags: Other settings that were given.

    Raises:
        SettingsError: A setting is wrong, or a password stands on the command line.
    """
    if database_url is not None:
        _reject_password(database_url)
    return load_settings({"database_url": database_url, **flags}, config, judgements=judgements)


def database_url_from(config: Path | None, database_url: str | None) -> str:
    """Return the connection URL, for a command that needs no other setting.

    Raises:
        SettingsError: As for :func:`settings_from`.
    """
    return settings_from(config, database_url).database_url.get_secret_value()


def dba_database_url_from(config: Path | None, database_url: str | None) -> str:
    """Return the connection URL, for a command that a DBA runs: as psql has it, unless a setting says otherwise.

    psql takes the role's name for a database that is not named. Here it has to be.

    Raises:
        SettingsError: As for :func:`settings_from`, or no database is named.
    """
    if database_url is not None:
        _reject_password(database_url)
    named = os.environ.get("PGDATABASE") or os.environ.get("PGSERVICE")
    flags = {"database_url": database_url}
    settings = load_settings(flags, config, default_url=_OF_PSQL_S_VARIABLES)
    url = settings.database_url.get_secret_value()
    if url == _OF_PSQL_S_VARIABLES and not named:
        raise SettingsError(
            "no database is named",
            "As for psql: PGDATABASE=eres, with PGHOST and PGUSER if needed. Or: --database-url "
            "postgresql://postgres@localhost/eres",
        )
    return url


def _reject_password(database_url: str) -> None:
    try:
        has_password = bool(conninfo_parameters(database_url).get("password"))
    except ValueError as error:
        raise SettingsError(f"--database-url {error}") from None
    if has_password:
        raise SettingsError(
            "--database-url contains a password, and every user of this machine can read a command line",
            "Set it in the environment (CDC_BRIDGE_DATABASE_URL), in ~/.pgpass or in a systemd credential.",
        )
