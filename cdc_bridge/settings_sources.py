"""Loads the settings from their sources, and reports everything that is wrong with them.

Order of precedence: flags, environment (``CDC_BRIDGE_...``), systemd credentials (files named
``cdc_bridge_...`` in ``$CREDENTIALS_DIRECTORY``), the TOML file, defaults. The names are the same everywhere:
``CDC_BRIDGE_ENDPOINT_URL`` in the environment is ``endpoint_url`` in the file and ``cdc_bridge_endpoint_url`` among the
credentials.

An unknown name is an error, because a misspelt setting would be ignored in silence. All problems are reported at once,
each with the name that the setting has in the source that it comes from, and no message repeats a value that may be
secret.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
)

from cdc_bridge.connection_origin import URL_VARIABLE, DatabaseUrl, connection_origin
from cdc_bridge.did_you_mean import did_you_mean
from cdc_bridge.errors import SettingsError
from cdc_bridge.model import without_secrets
from cdc_bridge.own_files import others_read, user_name
from cdc_bridge.settings import PREFIX, ExposedFile, Settings, conninfo_parameters

CONFIG_VARIABLE = f"{PREFIX}CONFIG"
DEFAULT_CONFIG = Path("/etc/cdc-bridge/config.toml")
CREDENTIALS_FOLDER = Path("/etc/cdc-bridge/credentials")
UNIT = "cdc-bridge.service"
UNIT_FILE = Path("/etc/systemd/system", UNIT)
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"

_TEST_PREFIX = f"{PREFIX}TEST_"
_STAND_INS = {"database_url": "dbname=x", "endpoint_url": "https://endpoint.invalid/"}
"""Stand for what is missing or wrong, while the other settings are judged."""
_AS_THE_SERVICE = "For the service on this machine, as root: cdc-bridge systemd exec status"
_VALUE_SHOWN = frozenset(
    {
        *("bool_parsing", "bool_type", "float_parsing", "float_type", "int_parsing", "int_type", "int_from_float"),
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "literal_error"),
    }
)
"""Types of faults that only settings have that are no secret."""
_MOST_SHOWN = 40
_WORDS = {
    "a valid number, unable to parse string as a number": "a number",
    "a valid number": "a number",
    "a valid integer, unable to parse string as an integer": "a whole number",
    "a valid integer, got a number with a fractional part": "a whole number",
    "a valid integer": "a whole number",
    "a valid boolean, unable to interpret input": "true or false",
    "a valid boolean": "true or false",
    "a valid string": "a text in quotes",
}

Judgement = Callable[[Settings], object]
"""Judges settings together; raises ``SettingsError``."""


def load_settings(
    flags: Mapping[str, Any] | None = None,
    config_file: Path | None = None,
    *,
    default_url: str | None = None,
    judgements: Sequence[Judgement] = (),
) -> Settings:
    """Load the settings.

    Args:
        flags: What was given on the command line; ``None`` values count as not given.
        config_file: The TOML file; else that of ``CDC_BRIDGE_CONFIG``, else /etc/cdc-bridge/config.toml if it exists.
        default_url: The database's conninfo if no source has one.
        judgements: How the command judges settings later. If anything is wrong at all, they are asked as well, so that
            everything is named at once.

    Raises:
        SettingsError: Something is missing, unknown or wrong; all of it is named.
    """
    file = _chosen_file(config_file)
    in_file = _values_in(file)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    problems = [*_unknown_in_environment(), *_unknown_in_credentials(), *_unknown_in_file(file, in_file)]
    names = {name: _called(name, given, file, in_file) for name in Settings.model_fields}
    faults: list[Any] = []
    settings: Settings | None = None
    try:
        settings = _class_for(in_file, {} if default_url is None else {"database_url": default_url})(**given)
    except ValidationError as error:
        faults = [fault for fault in error.errors() if fault["type"] != "extra_forbidden"]
    problems += [_in_words(fault, names) for fault in faults]
    if settings is None or problems:
        wrong = {str(fault["loc"][0]) for fault in faults} | (in_file.keys() - Settings.model_fields.keys())
        problems += _found_together(wrong, given, in_file, names, judgements)
        raise SettingsError(problems[0], _remedy(faults), more=problems[1:])
    url = DatabaseUrl(settings.database_url.get_secret_value(), names["database_url"])
    settings = settings.model_copy(update={"database_url": SecretStr(url)}).with_names(names)
    exposed = [*_exposed_in_file(file, in_file), *_exposed_credentials(), *_exposed_key_file(settings)]
    return settings.with_exposed(exposed)


def _class_for(
    in_file: Mapping[str, Any], defaults: Mapping[str, str], without: Collection[str] = ()
) -> type[Settings]:
    class SettingsOfAllSources(Settings):
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
            sources.append(InitSettingsSource(settings_cls, dict(in_file)))
            if without:
                sources = [_Without(settings_cls, source, without) for source in sources]
            return (*sources, InitSettingsSource(settings_cls, dict(defaults)))

    return SettingsOfAllSources


class _Without(PydanticBaseSettingsSource):
    """A source without some settings."""

    def __init__(
        self, settings_cls: type[BaseSettings], source: PydanticBaseSettingsSource, without: Collection[str]
    ) -> None:
        super().__init__(settings_cls)
        self._source = source
        self._without = without

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return what the source has."""
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in self._source().items() if name not in self._without}


def _found_together(
    wrong: Collection[str],
    given: Mapping[str, Any],
    in_file: Mapping[str, Any],
    names: Mapping[str, str],
    judgements: Sequence[Judgement],
) -> Iterator[str]:
    """Yield what is wrong with all other settings, as far as that can be seen without those that are wrong."""
    without = {*wrong, "endpoint_previous_secret"} if "endpoint_secret" in wrong else {*wrong}
    kept = {name: value for name, value in given.items() if name not in without}
    try:
        settings = _class_for(in_file, _STAND_INS, without)(**kept).with_names(names)
    except ValidationError:
        return
    try:
        require_usable(settings, *judgements)
    except SettingsError as error:
        yield from error.lines


def require_usable(settings: Settings, *judgements: Judgement) -> None:
    """Require an endpoint and keys that can be used, and whatever else is judged.

    Raises:
        SettingsError: Says all of it.
    """
    errors: list[SettingsError] = []
    for judge in (Settings.endpoint, Settings.secrets_cipher, *judgements):
        try:
            judge(settings)
        except SettingsError as error:
            errors.append(error)
    if errors:
        raise SettingsError.of(errors)


def _remedy(faults: Iterable[Any]) -> str:
    without_url = any(fault["type"] == "missing" and fault["loc"][0] == "database_url" for fault in faults)
    return _AS_THE_SERVICE if without_url and _has_service() else ""


def secrets_are_elsewhere() -> bool:
    """Return whether this machine has the service, whose secrets systemd hands to others than this process."""
    return not os.environ.get(CREDENTIALS_VARIABLE) and _has_service()


def _has_service() -> bool:
    try:
        return UNIT_FILE.exists() or (CREDENTIALS_FOLDER / "database_url").exists()
    except OSError:  # Only root may look into that folder.
        return True


def _called(name: str, given: Mapping[str, Any], file: Path | None, in_file: Mapping[str, Any]) -> str:
    """Return what a setting is called in the first source that has it; its variable, if none has."""
    variable = f"{PREFIX}{name.upper()}"
    if name in given:
        return f"--{name.replace('_', '-')}"
    if any(each.upper() == variable for each in os.environ):
        return variable
    for path in _credentials():
        if path.name.upper() == variable:
            return _credential(path)
    return f"{name} in {file}" if name in in_file else variable


def _credentials() -> list[Path]:
    directory = Path(os.environ.get(CREDENTIALS_VARIABLE) or os.devnull)
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _credential(path: Path) -> str:
    """Return what a credential is called; one of the service, with the file that systemd takes it from."""
    prefix = PREFIX.lower()
    if path.parent.name != UNIT or not path.name.startswith(prefix):
        return f"the credential {path.name}"
    return f"the credential {path.name} ({CREDENTIALS_FOLDER / path.name.removeprefix(prefix)})"


def _exposed_in_file(file: Path | None, values: Mapping[str, Any]) -> Iterator[ExposedFile]:
    if file is None or not others_read(file):
        return
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
        raise _unreadable(chosen or DEFAULT_CONFIG, error) from None
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
            yield f"{_credential(path)} is not a setting{did_you_mean(path.name.lower(), known)}"
            continue
        try:
            path.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"the credential {path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"the credential {path} cannot be read: it is not UTF-8") from None


def _values_in(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(file, error) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"the settings file {file} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        # Its message ends with the place, not with a part of the file.
        raise SettingsError(f"the settings file {file} is not TOML: {error}") from None


def _unreadable(file: Path, error: OSError) -> SettingsError:
    remedy = f"Run it as a user who may read it, or name another one in {CONFIG_VARIABLE}."
    if file == DEFAULT_CONFIG and isinstance(error, PermissionError):
        remedy = f"Run as root: chmod 644 {file}. Secrets belong in {CREDENTIALS_FOLDER}."
    return SettingsError(f"the settings file {file} cannot be read by user {user_name()}: {error.strerror}", remedy)


def _unknown_in_file(file: Path | None, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name not in Settings.model_fields:
            yield f"{name} in {file} is not a setting{did_you_mean(name, Settings.model_fields)}"


def _in_words(fault: Any, names: Mapping[str, str]) -> str:
    setting, message = str(fault["loc"][0]), str(fault["msg"]).removeprefix("Value error, ")
    name, needed = names[setting], message.removeprefix("Input should be ")
    if fault["type"] == "missing":
        told = f"{name} is not set: {Settings.model_fields[setting].description}"
        return told + _instead_of_psql_s() if setting == "database_url" else told
    if needed == message:
        return f"{name} {message.removeprefix('Input ')}"
    has_to = f"has to be {_WORDS.get(needed, needed)}"
    return f"{name} is {_shown(fault['input'])}; it {has_to}" if fault["type"] in _VALUE_SHOWN else f"{name} {has_to}"


def _shown(value: object) -> str:
    text = json.dumps(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _instead_of_psql_s() -> str:
    """Return what to set, where the variables of psql say which database it is; empty: they do not."""
    if not any(os.environ.get(variable) for variable in ("PGDATABASE", "PGSERVICE")):
        return ""
    url = connection_origin("application_name=cdc-bridge").url_of("cdc_bridge:PASSWORD")
    return f". PG variables are not used here. For example: {URL_VARIABLE}='{url}'"
