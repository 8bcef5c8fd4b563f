"""Loads the settings from their sources, and reports everything that is wrong with them.

Order of precedence: flags, environment (``CDC_BRIDGE_...``), systemd credentials (files named
``cdc_bridge_...`` in ``$CREDENTIALS_DIRECTORY``), the TOML file, defaults. The names are the same everywhere:
``CDC_BRIDGE_ENDPOINT_URL`` in the environment is ``endpoint_url`` in the file and ``cdc_bridge_endpoint_url`` among the
credentials.

An unknown name is an error, because a misspelt setting would be ignored in silence. All problems are reported at once,
and no message repeats a value that may be secret.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from cdc_bridge.connection_origin import URL_VARIABLE, DatabaseUrl, connection_origin
from cdc_bridge.did_you_mean import did_you_mean
from cdc_bridge.errors import SettingsError
from cdc_bridge.model import without_secrets
from cdc_bridge.own_files import others_read
from cdc_bridge.settings import PREFIX, ExposedFile, Settings, conninfo_parameters

CONFIG_VARIABLE = f"{PREFIX}CONFIG"
DEFAULT_CONFIG = Path("/etc/cdc-bridge/config.toml")
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
_TEST_PREFIX = f"{PREFIX}TEST_"


def load_settings(
    flags: Mapping[str, Any] | None = None, config_file: Path | None = None, *, default_url: str | None = None
) -> Settings:
    """Load the settings.

    Args:
        flags: What was given on the command line; ``None`` values count as not given.
        config_file: The TOML file; else that of ``CDC_BRIDGE_CONFIG``, else /etc/cdc-bridge/config.toml if it exists.
        default_url: The database's conninfo if no source has one.

    Raises:
        SettingsError: Something is missing, unknown or wrong; all of it is named.
    """
    file = _chosen_file(config_file)

    class SettingsOfAllSources(Settings):
        model_config = SettingsConfigDict(toml_file=file)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
            if credentials := os.environ.get(CREDENTIALS_VARIABLE):
                sources.append(SecretsSettingsSource(settings_cls, credentials))
            sources.append(TomlConfigSettingsSource(settings_cls))
            if default_url is not None:
                sources.append(InitSettingsSource(settings_cls, {"database_url": default_url}))
            return tuple(sources)

    given = {name: value for name, value in (flags or {}).items() if value is not None}
    problems = [*_unknown_in_environment(), *_unknown_in_credentials(), *_unknown_in_file(file)]
    try:
        settings = SettingsOfAllSources(**given)
    except ValidationError as error:
        problems += [_in_words(fault) for fault in error.errors() if fault["type"] != "extra_forbidden"]
    if problems:
        raise SettingsError(problems[0], more=problems[1:])
    url = DatabaseUrl(settings.database_url.get_secret_value(), _source_of_url(given, file))
    settings = settings.model_copy(update={"database_url": SecretStr(url)})
    return settings.with_exposed([*_exposed_in_file(file), *_exposed_credentials(), *_exposed_key_file(settings)])


def _source_of_url(flags: Mapping[str, Any], file: Path | None) -> str:
    if "database_url" in flags:
        return "--database-url"
    if any(name.upper() == URL_VARIABLE for name in os.environ):
        return URL_VARIABLE
    credentials = Path(os.environ.get(CREDENTIALS_VARIABLE) or os.devnull)
    if credentials.is_dir():
        for path in credentials.iterdir():
            if path.name.upper() == URL_VARIABLE:
                return f"the credential {path.name}"
    return f"database_url in {file}"


def _exposed_in_file(file: Path | None) -> Iterator[ExposedFile]:
    if file is None or not others_read(file):
        return
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    if names := [name for name, value in values.items() if value and _is_secret(name, value)]:
        yield ExposedFile(file, names)


def _exposed_credentials() -> Iterator[ExposedFile]:
    directory = os.environ.get(CREDENTIALS_VARIABLE)
    if not directory:
        return
    for path in sorted(Path(directory).iterdir()):
        name = path.name.lower().removeprefix(PREFIX.lower())
        if name in Settings.model_fields and others_read(path) and _is_secret(name, path.read_text().strip()):
            yield ExposedFile(path, [name])


def _exposed_key_file(settings: Settings) -> Iterator[ExposedFile]:
    file = settings.secrets_key_file
    with suppress(OSError):  # Whoever needs a key reports it.
        if file is not None and others_read(file):
            yield ExposedFile(file, ["secrets_key_file"])


def _is_secret(name: str, value: object) -> bool:
    """Return whether a setting's value has a secret in it, or may have."""
    match name:
        case "database_url":
            return bool(conninfo_parameters(str(value)).get("password"))
        case "endpoint_url":
            return without_secrets(str(value)) != value
        case "endpoint_proxy":
            return "@" in str(value)
        case _:
            return "SecretStr" in str(Settings.model_fields[name].annotation)


def _chosen_file(config_file: Path | None) -> Path | None:
    chosen = config_file or (Path(name) if (name := os.environ.get(CONFIG_VARIABLE)) else None)
    try:
        if chosen is None:
            return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None
        if not chosen.exists():
            raise SettingsError(f"the settings file {chosen} does not exist")
    except OSError as error:  # A folder above it may not be entered, or the like.
        raise SettingsError(
            f"the settings file {chosen or DEFAULT_CONFIG} cannot be read: {error.strerror}",
            f"Run it as a user who may read it, or name another one in {CONFIG_VARIABLE}.",
        ) from None
    return chosen


def _unknown_in_environment() -> Iterator[str]:
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name in sorted(os.environ):
        upper = name.upper()  # pydantic takes settings in any case, so misspelt ones count in any case
        if not upper.startswith(PREFIX) or name.startswith(_TEST_PREFIX) or name == CONFIG_VARIABLE:
            continue
        if upper not in known:
            yield f"{name} is not a setting{did_you_mean(upper, [*known, CONFIG_VARIABLE])}"


def _unknown_in_credentials() -> Iterator[str]:
    directory = os.environ.get(CREDENTIALS_VARIABLE)
    if not directory:
        return
    prefix = PREFIX.lower()
    known = [f"{prefix}{name}" for name in Settings.model_fields]
    try:
        ours = sorted(path for path in Path(directory).iterdir() if path.name.lower().startswith(prefix))
    except OSError as error:
        raise SettingsError(f"{CREDENTIALS_VARIABLE} {directory} cannot be read: {error.strerror}") from None
    for path in ours:
        if path.name.lower() not in known:
            yield f"the credential {path.name} is not a setting{did_you_mean(path.name.lower(), known)}"
            continue
        try:
            path.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"the credential {path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"the credential {path} cannot be read: it is not UTF-8") from None


def _unknown_in_file(file: Path | None) -> Iterator[str]:
    if file is None:
        return
    try:
        names = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {file} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        # Its message ends with the place, not with a part of the file.
        raise SettingsError(f"the settings file {file} is not TOML: {error}") from None
    for name in names:
        if name not in Settings.model_fields:
            yield f"{name} in {file} is not a setting{did_you_mean(name, Settings.model_fields)}"


def _in_words(fault: Any) -> str:
    setting = str(fault["loc"][0])
    name = f"{PREFIX}{setting.upper()}"
    if fault["type"] == "missing":
        told = f"{name} is not set: {Settings.model_fields[setting].description}"
        return told + _instead_of_psql_s() if name == URL_VARIABLE else told
    return f"{name} {fault['msg'].removeprefix('Value error, ').removeprefix('Input ')}"


def _instead_of_psql_s() -> str:
    """Return what to set, where the variables of psql say which database it is; empty: they do not."""
    if not any(os.environ.get(variable) for variable in ("PGDATABASE", "PGSERVICE")):
        return ""
    url = connection_origin("application_name=cdc-bridge").url_of("cdc_bridge:PASSWORD")
    return f". PG variables are not used here. For example: {URL_VARIABLE}='{url}'"
