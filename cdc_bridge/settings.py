"""The settings: what each means, where they come from, and what is wrong with them.

Order of precedence: flags, environment (``CDC_BRIDGE_...``), systemd credentials (files named
``cdc_bridge_...`` in ``$CREDENTIALS_DIRECTORY``), the TOML file, defaults. The names are the same everywhere:
``CDC_BRIDGE_ENDPOINT_URL`` in the environment is ``endpoint_url`` in the file and ``cdc_bridge_endpoint_url`` among the
credentials.

An unknown name is an error, because a setting that is misspelt is a setting that is silently not there. All that is
wrong is told at once, and no message ever repeats a value that may be secret.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from cdc_bridge.errors import SettingsError
from cdc_bridge.model import Endpoint
from cdc_bridge.setting_values import (
    check_client_certificate,
    checked_ca_file,
    checked_conninfo,
    checked_headers,
    checked_url,
    decoded_secret,
    header_lines,
    nearest,
)

PREFIX = "CDC_BRIDGE_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
DEFAULT_CONFIG = Path("/etc/cdc-bridge/config.toml")
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
_OF_THE_TESTS = f"{PREFIX}TEST_"

NAME_IN_SETTINGS = "default"
"""Name of the endpoint that the settings declare."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    database_url: SecretStr = Field(
        description="How to reach the e-Res database, as role cdc_bridge: any libpq conninfo, "
        "postgresql://cdc_bridge:...@host/database or host=... dbname=..."
    )
    endpoint_url: str | None = Field(None, description="Where reservations are posted, https://...")
    endpoint_header: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description='Header(s) of every call, "Name: value"; in the file also a list of them'
    )
    endpoint_secret: SecretStr | None = Field(
        None, description="Signing secret, whsec_ and 24 to 64 bytes in base64; without one, calls are not signed"
    )
    endpoint_ca_file: Path | None = Field(
        None, description="File with the CA certificate(s) that alone are trusted; default: the system's"
    )
    endpoint_client_certificate_file: Path | None = Field(
        None, description="File with the certificate to show to an endpoint that asks for one (mTLS)"
    )
    endpoint_client_key_file: Path | None = Field(
        None, description="File with that certificate's key; default: it is in the same file"
    )
    endpoint_max_in_flight: int = Field(16, ge=1, le=1000, description="Most calls under way at once")
    endpoint_latest_only: bool = Field(
        False, description="Make one call of several changes of a reservation that wait for theirs"
    )
    endpoint_timeout_seconds: float = Field(15, gt=0, le=300, description="Longest time for one call, in seconds")
    endpoint_connect_timeout_seconds: float = Field(
        5, gt=0, le=300, description="Longest time for a connection to come about, in seconds"
    )
    endpoint_start: Literal["oldest", "now"] = Field(
        "oldest",
        description="Where an endpoint begins that was never seen before: with the oldest change kept, or with now",
    )
    allow_http: bool = Field(False, description="Admit http:// to this machine, for development")
    wake: Literal["notify", "poll"] = Field(
        "notify",
        description="What wakes the daemon: NOTIFY, or looking at intervals; with PREPARE TRANSACTION only the latter",
    )
    poll_interval_seconds: float = Field(0.5, ge=0.01, le=60, description="Time between looks when polling, in seconds")
    safety_read_seconds: float = Field(20, ge=0.1, le=3600, description="Time between looks while asleep, in seconds")
    wake_up_test_seconds: float = Field(
        60, ge=0.1, le=3600, description="Time between proofs that NOTIFY arrives, in seconds"
    )
    batch_size: int = Field(
        500, ge=1, le=10_000, description="Most changes read at once; three such pages fit in memory"
    )
    lease_seconds: float = Field(
        15,
        ge=1,
        le=300,
        description="Time after which another daemon takes the endpoints of one that is frozen or cut off, in seconds",
    )
    stuck_after_seconds: float = Field(
        180,
        ge=5,
        le=86_400,
        description="Time without progress, where there is work, after which the daemon ends, in seconds",
    )
    shutdown_timeout_seconds: float = Field(
        25, ge=0, le=600, description="Longest time for calls under way to finish after SIGTERM, in seconds"
    )
    reconcile_interval_seconds: float = Field(
        0,
        ge=0,
        le=31_536_000,
        description="Time between comparisons of e-Res's rows with what was delivered, in seconds; 0: never",
    )
    reconcile_repair: bool = Field(
        False, description="Call what such a comparison finds missing or stale, instead of only telling"
    )
    retention_days: float = Field(
        7, ge=1, le=3650, description="Time for which changes and settled deliveries are kept, in days"
    )
    dead_letter_retention_days: float = Field(
        30, ge=1, le=3650, description="Time for which a delivery that was given up can be sent again, in days"
    )
    web_port: int = Field(
        0, ge=0, le=65_535, description="Port of the page, of /metrics, /healthz and /readyz; 0: none"
    )
    web_address: str = Field(
        "127.0.0.1",
        description="Address of this machine to serve them on; one that other machines reach needs web_token, and "
        "web_certificate_file or web_behind_proxy",
    )
    web_token: SecretStr | None = Field(
        None,
        description="What signs in to the page, to see and change everything: 20 characters or more, such as those "
        "that openssl rand -hex 24 makes; without one there is no page",
    )
    web_view_token: SecretStr | None = Field(
        None, description="What signs in to the page to see states, and no reservation's content; must be another one"
    )
    web_certificate_file: Path | None = Field(
        None, description="File with the certificate to serve them over HTTPS with"
    )
    web_key_file: Path | None = Field(
        None, description="File with that certificate's key; default: it is in the same file"
    )
    web_behind_proxy: bool = Field(
        False, description="State that browsers reach the page through a proxy, over HTTPS, and in no other way"
    )
    max_lag_seconds: float = Field(
        300,
        ge=1,
        le=31_536_000,
        description="Age of the oldest unsettled change of an active endpoint from which /readyz is red, in seconds",
    )
    source: str | None = Field(
        None,
        min_length=1,
        description="CloudEvents source of every call; default: /cdc-bridge/ and the database's name",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="For people or for machines; auto: for people on a terminal"
    )

    @field_validator("database_url", mode="after")
    @classmethod
    def _database_url_is_one(cls, value: SecretStr) -> SecretStr:
        checked_conninfo(value.get_secret_value())
        return value

    @field_validator("endpoint_header", mode="before")
    @classmethod
    def _one_header_or_many(cls, value: object) -> object:
        return header_lines(value)

    @field_validator("endpoint_header", mode="after")
    @classmethod
    def _headers_are_harmless(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        checked_headers(line.get_secret_value() for line in value)
        return value

    @field_validator("endpoint_secret", mode="after")
    @classmethod
    def _secret_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            decoded_secret(value.get_secret_value())
        return value

    @field_validator("endpoint_ca_file", mode="after")
    @classmethod
    def _ca_file_is_one(cls, value: Path | None) -> Path | None:
        return value if value is None else checked_ca_file(value)

    def endpoint(self) -> Endpoint | None:
        """Return the endpoint that the settings declare, if they do.

        Raises:
            SettingsError: it lacks its URL, the URL is not admitted or the certificate cannot be shown.
        """
        if self.endpoint_url is None:
            if without := [name for name in self.model_fields_set if name.startswith("endpoint_")]:
                raise SettingsError(
                    f"{PREFIX}ENDPOINT_URL is not set, but {PREFIX}{min(without).upper()} is",
                    f"Set it to where the reservations are to be posted: {PREFIX}ENDPOINT_URL=https://till.example/reservations",
                )
            return None
        try:
            url = checked_url(self.endpoint_url, allow_http=self.allow_http)
        except ValueError as error:
            raise SettingsError(f"{PREFIX}ENDPOINT_URL {error}") from None
        if self.endpoint_client_certificate_file is not None:
            try:
                check_client_certificate(self.endpoint_client_certificate_file, self.endpoint_client_key_file)
            except ValueError as error:
                raise SettingsError(f"{PREFIX}ENDPOINT_CLIENT_CERTIFICATE_FILE {error}") from None
        secret = self.endpoint_secret
        return Endpoint(
            name=NAME_IN_SETTINGS,
            url=url,
            headers=checked_headers(line.get_secret_value() for line in self.endpoint_header),
            secret=None if secret is None else decoded_secret(secret.get_secret_value()),
            previous_secret=None,
            previous_secret_until=None,
            ca_file=self.endpoint_ca_file,
            client_certificate_file=self.endpoint_client_certificate_file,
            client_key_file=self.endpoint_client_key_file,
            max_in_flight=self.endpoint_max_in_flight,
            latest_only=self.endpoint_latest_only,
            timeout_seconds=self.endpoint_timeout_seconds,
            connect_timeout_seconds=self.endpoint_connect_timeout_seconds,
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Set the order of precedence."""
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if credentials := os.environ.get(CREDENTIALS_VARIABLE):
            sources.append(SecretsSettingsSource(settings_cls, credentials))
        sources.append(TomlConfigSettingsSource(settings_cls))  # of model_config's toml_file
        return tuple(sources)


def load_settings(flags: Mapping[str, Any] | None = None, config_file: Path | None = None) -> Settings:
    """Load the settings.

    Args:
        flags: what was given on the command line; ``None`` values count as not given.
        config_file: the TOML file; default: that of ``CDC_BRIDGE_CONFIG``, else /etc/cdc-bridge/config.toml if it
            is there.

    Raises:
        SettingsError: something is missing, unknown or wrong; all of it is named.
    """
    file = _chosen_file(config_file)

    class ChosenSettings(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    given = {name: value for name, value in (flags or {}).items() if value is not None}
    problems = [*_unknown_in_environment(), *_unknown_in_credentials(), *_unknown_in_file(file)]
    try:
        settings = ChosenSettings(**given)
    except ValidationError as error:
        problems += [_told(fault) for fault in error.errors() if fault["type"] != "extra_forbidden"]
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _chosen_file(config_file: Path | None) -> Path | None:
    chosen = config_file or (Path(name) if (name := os.environ.get(CONFIG_VARIABLE)) else None)
    try:
        if chosen is None:
            return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None
        if not chosen.exists():
            raise SettingsError(f"the settings file {chosen} is not there")
    except OSError as error:  # A folder above it may not be entered, or the like.
        raise SettingsError(
            f"the settings file {chosen or DEFAULT_CONFIG} cannot be read: {error.strerror}",
            f"Run it as a user who may read it, or name another one in {CONFIG_VARIABLE}.",
        ) from None
    return chosen


def _unknown_in_environment() -> Iterable[str]:
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name in sorted(os.environ):
        upper = name.upper()  # pydantic takes settings in any case; so their misspellings count in any case
        if not upper.startswith(PREFIX) or name.startswith(_OF_THE_TESTS) or name == CONFIG_VARIABLE:
            continue
        if upper not in known:
            yield f"{name} is not a setting{nearest(upper, [*known, CONFIG_VARIABLE])}"


def _unknown_in_credentials() -> Iterable[str]:
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
            yield f"the credential {path.name} is not a setting{nearest(path.name.lower(), known)}"
            continue
        try:
            path.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"the credential {path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"the credential {path} cannot be read: it is not UTF-8") from None


def _unknown_in_file(file: Path | None) -> Iterable[str]:
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
            yield f"{name} in {file} is not a setting{nearest(name, Settings.model_fields)}"


def _told(fault: Any) -> str:
    name = f"{PREFIX}{str(fault['loc'][0]).upper()}"
    if fault["type"] == "missing":
        return f"{name} is not set: {Settings.model_fields[str(fault['loc'][0])].description}"
    return f"{name} {fault['msg'].removeprefix('Value error, ').removeprefix('Input ')}"
