"""All settings: names, types, limits and descriptions. :mod:`cdc_bridge.settings_sources` loads them.

The settings of the endpoint that a daemon may declare, ``endpoint_...``, follow from the options of an endpoint.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, create_model
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cdc_bridge.endpoints.option import Kind, Option, Setter
from cdc_bridge.endpoints.option_values import admit_url, well_formed_url
from cdc_bridge.endpoints.options import (
    NAME_IN_SETTINGS,
    OPTIONS,
    Endpoint,
    UnusableOption,
    endpoint_from,
    options_for,
    unusable_options,
)
from cdc_bridge.endpoints.secrets_cipher import NO_KEYS, SecretsCipher, keys_in
from cdc_bridge.errors import SettingsError

PREFIX = "CDC_BRIDGE_"
_URL = re.compile(r"postgres(ql)?://")
_HOST = re.compile(r"[a-z0-9][a-z0-9._-]*|[0-9a-f:]+")


def conninfo_parameters(text: str) -> dict[str, object]:
    """Return the parameters in a libpq conninfo.

    Raises:
        ValueError: It is not one.
    """
    _require_escapes(text)
    try:
        parameters = conninfo_to_dict(text)
    except psycopg.ProgrammingError:
        # psycopg's own words repeat a part of the text, which may be the password.
        parameters = {}
    if not parameters:
        raise ValueError("is not a libpq conninfo: postgresql://user@host/database, or host=... dbname=... user=...")
    return dict(parameters)


def _require_escapes(text: str) -> None:
    """Require that a URL's password ends where its writer meant: else a part of it is taken for the host or the port.

    Raises:
        ValueError: It may not.
    """
    if (url := _URL.match(text)) is None:
        return
    authority, _, rest = text[url.end() :].partition("/")
    if authority.count("@") > 1:
        raise ValueError("has more than one @ in front of the host; write an @ in the password as %40")
    port = authority.rpartition("]")[2].partition(":")[2]
    if "@" not in authority and "@" in rest and port and not port.partition(",")[0].isdecimal():
        raise ValueError("has no @ in front of its first /; write a / in the password as %2F")


def _conninfo(value: SecretStr) -> SecretStr:
    conninfo_parameters(value.get_secret_value())
    return value


def _alert_url(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        url = value.get_secret_value()
        if "@" in url.partition("//")[2].partition("/")[0]:
            raise ValueError("has a user name or password in it, which cannot be sent; see the operator guide")
        admit_url(well_formed_url(url), allow_http=True)
    return value


def _alert_command(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        program = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"cannot be split into program and arguments: {error}") from None
    if not program:
        raise ValueError("has no program in it")
    return value


def usable_web_url(text: str | None) -> str | None:
    """Return a URL at which vendors reach the dashboard, in the form that links begin with.

    Raises:
        ValueError: It is none.
    """
    if text is None:
        return None
    example = "https:// and a host, such as https://bridge.example, and nothing behind it"
    try:
        parts = urlsplit(text.strip().removesuffix("/"))
        port = parts.port
    except ValueError:
        raise ValueError(f"has to be {example}") from None
    local = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    rest = (parts.path, parts.query, parts.fragment, parts.username, parts.password)
    allowed = (parts.scheme == "https" or local) and text.strip().isprintable()  # urlsplit drops line ends.
    if not allowed or _HOST.fullmatch(parts.hostname or "") is None or any(rest):
        raise ValueError(f"has to be {example}")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")


_REPEATED = "; can be given more than once"
_LISTS = {"headers": '["X-A: 1", "X-B: 2"]', "only": '["room_name=Bar,Terrace", "walkin=F"]'}
"""Several lines of an option, as a setting has them."""


class _DatabaseSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    database_url: Annotated[SecretStr, AfterValidator(_conninfo)] = Field(
        description="How to reach the e-Res database, as role cdc_bridge: any libpq conninfo, "
        "postgresql://cdc_bridge:...@host/database or host=... dbname=..."
    )


def _field_of(option: Option) -> Any:
    """Return type and field of an option's setting."""
    value_type: Any = option.value_type
    if option.kind is Kind.CHOICE:
        value_type = Literal[tuple(option.choices)]
    elif option.kind is Kind.LINES or option.secret:
        value_type = SecretStr if option.secret else str
    checks: list[Any] = [AfterValidator(_checked(option))] if option.read is not None else []
    if option.kind is Kind.LINES:
        value_type = tuple[value_type, ...]
        checks = [NoDecode, BeforeValidator(_one_or_many), *checks]
    if option.optional or option.required:
        value_type = value_type | None
    description = option.description
    if option.kind is Kind.LINES:
        description = description.replace(_REPEATED, f"; several as a list, {_LISTS[option.name]}")
    default = None if option.required else option.stored(option.default) if option.choices else option.default
    shown = option.mask is None
    field = Field(default, description=description, repr=shown, gt=option.above, ge=option.minimum, le=option.maximum)
    return Annotated[(value_type, *checks)] if checks else value_type, field


def _checked(option: Option) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is None:
            return value
        stored = _stored(value)
        try:
            option.usable(stored)
        except ValueError as error:
            if option.kind is Kind.LINES and any("\n" in line for line in stored):
                raise ValueError(f"{error}; several are a list: {_LISTS[option.name]}") from None
            raise
        return value

    return check


def _one_or_many(value: object) -> object:
    """Return one line or a list of them as a list; an environment variable has a list as JSON."""
    if value is None or value == "":
        return ()
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):
            return json.loads(value)
    return (value,) if isinstance(value, str) else value


def _stored(value: Any) -> Any:
    """Return a setting's value as an option's stored form."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return str(value)
        case tuple():
            return [_stored(line) for line in value]
        case _:
            return value


if TYPE_CHECKING:
    _EndpointSettings = _DatabaseSettings
else:
    _EndpointSettings = create_model(
        "_EndpointSettings",
        __base__=_DatabaseSettings,
        **{option.setting: _field_of(option) for option in options_for(Setter.SETTINGS)},
    )


@dataclass(frozen=True, slots=True)
class ExposedFile:
    """A file that holds secrets and that others than its owner can read."""

    path: Path
    names: Sequence[str]
    """The settings that are secrets."""

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.path} ({', '.join(self.names)})"


class Settings(_EndpointSettings):
    """All settings."""

    endpoint_start: Literal["oldest", "now"] = Field(
        "oldest",
        description="Where a new endpoint begins: with the oldest change in the log, or with what is committed now",
    )
    allow_http: bool = Field(False, description="Allow http:// to this machine, for development")
    secrets_key_file: Path | None = Field(
        None,
        description="File with the keys that secrets of endpoints are encrypted with in the database, 32 random bytes "
        "in base64 on each line, such as those that openssl rand -base64 32 makes; the first encrypts, all decrypt. "
        "It needs the package cryptography; without this setting, secrets are stored as plain text",
    )
    wake: Literal["notify", "poll"] = Field(
        "notify",
        description="What wakes the daemon: NOTIFY, or polling; with PREPARE TRANSACTION only the latter",
    )
    poll_interval_seconds: float = Field(0.5, ge=0.01, le=60, description="Polling interval, in seconds")
    batch_size: int = Field(
        500, ge=1, le=10_000, description="Maximum number of changes read at once; memory holds three such pages"
    )
    max_body_bytes: int = Field(
        16_777_216,
        ge=1024,
        le=268_435_456,
        description="Size of a body that is not sent any more, in bytes; the delivery fails and says so",
    )
    lease_seconds: float = Field(
        15,
        ge=1,
        le=300,
        description="Time after which another daemon takes over from one that is frozen or cut off, in seconds",
    )
    stuck_after_seconds: float = Field(
        180,
        ge=5,
        le=86_400,
        description="Time without progress despite work after which the daemon exits, in seconds",
    )
    shutdown_timeout_seconds: float = Field(
        25, ge=0, le=600, description="Time limit for requests in flight to finish after SIGTERM, in seconds"
    )
    reconcile_interval_seconds: float = Field(
        0,
        ge=0,
        le=31_536_000,
        description="Interval of comparisons of e-Res's rows with what was delivered, in seconds; 0: never",
    )
    reconcile_repair: bool = Field(
        False, description="Deliver what such a comparison finds missing or stale, instead of only reporting it"
    )
    retention_days: float = Field(
        7, ge=1, le=3650, description="Time for which changes and settled deliveries are kept, in days"
    )
    dead_letter_retention_days: float = Field(
        30,
        ge=1,
        le=3650,
        description="Time for which dead letters are kept, to be sent again, in days; at least retention_days",
    )
    web_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port of the dashboard, of the HTTP API, of /metrics, /healthz and /readyz; 0: none",
    )
    web_address: str = Field(
        "127.0.0.1",
        description="Address of this machine to serve them on; one that other machines reach needs a token, and "
        "web_certificate_file or web_proxy_address",
    )
    web_token: SecretStr | None = Field(
        None,
        description="Token to sign in to the dashboard with, to see and change everything: 20 characters or more, such "
        "as those that openssl rand -hex 24 makes; without it, only named tokens open the dashboard",
    )
    web_api_token: SecretStr | None = Field(
        None,
        description="Token of programs that see and change everything through the HTTP API; made as web_token, and "
        "different; without it, only named tokens open the API",
    )
    web_url: Annotated[str | None, AfterValidator(usable_web_url)] = Field(
        None,
        description="URL at which vendors reach the dashboard, such as https://bridge.example, for links to the portal",
    )
    web_certificate_file: Path | None = Field(
        None, description="PEM file with the certificate to serve them over HTTPS with"
    )
    web_key_file: Path | None = Field(
        None, description="PEM file with that certificate's private key, if the certificate file has none"
    )
    web_proxy_address: str | None = Field(
        None,
        description="Address or network of the HTTPS proxy in front of them; only the address that it adds to "
        "X-Forwarded-For is believed",
    )
    max_lag_seconds: float = Field(
        300,
        ge=1,
        le=31_536_000,
        description="Lag of an active endpoint, or time for which it is failing or unassigned, from which /readyz "
        "reports a problem, in seconds",
    )
    alert_url: Annotated[SecretStr | None, AfterValidator(_alert_url)] = Field(
        None,
        description="URL of a chat's incoming webhook that alerts go to, as JSON with a text: when health turns "
        "red, and when it is green again; as secret as a password",
    )
    alert_command: Annotated[str | None, AfterValidator(_alert_command)] = Field(
        None,
        description="Command that is run for alerts, without a shell; it gets the text on standard input and as the "
        "variable ALERT_TEXT",
    )
    alert_after_seconds: float = Field(
        60,
        ge=1,
        le=86_400,
        description="Time for which health has to be red, or green again, before there is an alert, in seconds",
    )
    source: str | None = Field(
        None,
        min_length=1,
        description="CloudEvents source of every request; default: /cdc-bridge/ and the database's name",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="For people (console) or for machines (json); auto: for people on a terminal"
    )

    _exposed: tuple[ExposedFile, ...] = PrivateAttr(())
    _names: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def exposed(self) -> tuple[ExposedFile, ...]:
        """The files that hold secrets and that others than their owner can read."""
        return self._exposed

    def with_exposed(self, exposed: Iterable[ExposedFile]) -> Self:
        """Note such files; return the settings."""
        self._exposed = tuple(exposed)
        return self

    def with_names(self, names: Mapping[str, str]) -> Self:
        """Note what settings are called where each was set; return the settings."""
        self._names = names
        return self

    def called(self, name: str) -> str:
        """Return what a setting is called where it was set; its variable, if it was not."""
        return self._names.get(name, f"{PREFIX}{name.upper()}")

    @property
    def declares_endpoint(self) -> bool:
        """Whether there is an endpoint in the settings."""
        return self._value_of(OPTIONS["url"]) is not None

    def endpoint(self) -> Endpoint | None:
        """Return the endpoint that the settings declare, if they do.

        Raises:
            SettingsError: It lacks its URL, the URL is not allowed, the certificate cannot be used, or the previous
                secret is the only one or the same. Everything that is wrong is named.
        """
        url = OPTIONS["url"]
        if not self.declares_endpoint:
            if without := [name for name in self.model_fields_set if name.startswith("endpoint_")]:
                raise SettingsError(
                    f"{url.variable} is not set, but {self.called(min(without))} is",
                    f"Set it to the endpoint's URL: {url.variable}=https://till.example/reservations",
                )
            return None
        stored = {option.name: _stored(self._value_of(option)) for option in options_for(Setter.SETTINGS)}
        try:
            endpoint = endpoint_from(NAME_IN_SETTINGS, stored, allow_http=self.allow_http)
        except UnusableOption:
            unusable = unusable_options(stored, allow_http=self.allow_http)
            raise SettingsError.of(
                [SettingsError(f"{self.called(each.option.setting)} {each.problem}") for each in unusable]
            ) from None
        secret, previous = self.called("endpoint_secret"), self.called("endpoint_previous_secret")
        if endpoint.previous_secret is not None and endpoint.secret is None:
            raise SettingsError(f"{previous} is set, but {secret} is not", f"Set {secret} to the new secret.")
        if endpoint.previous_secret is not None and endpoint.previous_secret == endpoint.secret:
            raise SettingsError(f"{previous} and {secret} are the same", f"Set {secret} to the new secret.")
        return endpoint

    def secrets_cipher(self) -> SecretsCipher:
        """Return what encrypts and decrypts the secrets of endpoints, with the keys that are in the file now.

        Raises:
            SettingsError: The file cannot be read or has a line that is no key, or a package is missing.
        """
        file, name = self.secrets_key_file, self.called("secrets_key_file")
        if file is None:
            return NO_KEYS
        try:
            return SecretsCipher(keys_in(file.read_text(encoding="ascii")))
        except OSError as error:
            raise SettingsError(f"{name}: {file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{name}: {file} is not ASCII") from None
        except ValueError as error:
            raise SettingsError(f"{name}: {file} {error}") from None
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"{name} needs {error.name}, which is not installed",
                f"Install it: {sys.executable} -m pip install cryptography",
            ) from None

    def _value_of(self, option: Option) -> Any:
        return getattr(self, option.setting)
