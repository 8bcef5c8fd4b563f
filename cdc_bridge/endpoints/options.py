"""The options of an endpoint as somebody gave them, checked by the rules that hold for the settings.

A file that an endpoint names lies on the daemon's machine, which need not be the one where the command runs. So what
can be read here is checked here, and of what cannot there is a warning.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cdc_bridge.errors import WrongUsage
from cdc_bridge.setting_values import check_client_certificate, checked_ca_file, checked_headers, checked_url
from cdc_bridge.settings import NAME_IN_SETTINGS, PREFIX, Settings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_NUMBERS = ("max_in_flight", "timeout_seconds", "connect_timeout_seconds")
_STANDARD_INPUT = Path("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """What was given; ``None``: it was not. An empty file name, and no header line at all, take away what was there."""

    url: str | None = None
    headers: tuple[str, ...] | None = None
    max_in_flight: int | None = None
    latest_only: bool | None = None
    timeout_seconds: float | None = None
    connect_timeout_seconds: float | None = None
    ca_file: str | None = None
    client_certificate_file: str | None = None
    client_key_file: str | None = None

    def given(self) -> list[str]:
        """Return the names of those that were given."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]


@dataclass(frozen=True, slots=True)
class CheckedOptions:
    """Options that can be used."""

    columns: Mapping[str, Any]
    """By the names of the table's columns; ``None``: not given."""
    warnings: tuple[str, ...]
    """What could not be checked here."""


def checked_name(name: str) -> str:
    """Return the name of a new endpoint.

    Raises:
        WrongUsage: it may not have this name.
    """
    if name == NAME_IN_SETTINGS:
        raise WrongUsage(
            f"NAME {name} belongs to the endpoint that a daemon's settings declare",
            f"Take another name; or set {PREFIX}ENDPOINT_URL where the daemon runs.",
        )
    if not _NAME.fullmatch(name):
        raise WrongUsage(
            "NAME has to be of lower-case letters, digits, - and _, begin with a letter or a digit and have at most "
            "63 of them",
            "For example: till, till-2, kitchen_screen",
        )
    return name


def with_defaults(options: EndpointOptions) -> EndpointOptions:
    """Fill what was not given with the defaults of the settings of the same names."""
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    for name in (*_NUMBERS, "latest_only"):
        if given[name] is None:
            given[name] = Settings.model_fields[f"endpoint_{name}"].default
    return EndpointOptions(**given | {"headers": options.headers or ()})


def checked_options(
    options: EndpointOptions, *, allow_http: bool, before: Mapping[str, str | None] | None = None
) -> CheckedOptions:
    """Check what was given.

    Args:
        options: it.
        allow_http: admit ``http://`` to this machine.
        before: the endpoint's files so far, by column, where it is there already.

    Raises:
        WrongUsage: something cannot be used; says which, and never repeats a value that may be secret.
    """
    columns: dict[str, Any] = {field.name: getattr(options, field.name) for field in fields(options)}
    if options.url is not None:
        with _named("URL"):
            columns["url"] = checked_url(options.url, allow_http=allow_http)
    if options.headers is not None:
        with _named("--header"):
            columns["headers"] = [f"{name}: {value}" for name, value in checked_headers(options.headers)]
    for number in _NUMBERS:
        if columns[number] is not None:
            with _named(_flag(number)):
                _check_number(number, columns[number])
    if options.client_certificate_file == "" and options.client_key_file is None:
        columns["client_key_file"] = ""  # Without its certificate it serves nothing.
    return CheckedOptions(columns, tuple(_check_files(columns, before or {})))


def header_lines_of(file: Path) -> tuple[str, ...]:
    """Return the header lines in a file; ``-`` is standard input.

    Raises:
        WrongUsage: it cannot be read, or there is none in it.
    """
    try:
        data = sys.stdin.buffer.read() if file == _STANDARD_INPUT else file.read_bytes()
        lines = tuple(line for line in data.decode().splitlines() if line.strip())
    except OSError as error:
        raise WrongUsage(f"--header-file {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongUsage(f"--header-file {file} is not UTF-8") from None
    if not lines:
        raise WrongUsage(f"--header-file {file} has no header in it", "To take all headers away: --header ''")
    return lines


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the name of an option before what is wrong with its value."""
    try:
        yield
    except ValueError as error:
        raise WrongUsage(f"{name} {error}") from None


def _flag(column: str) -> str:
    return f"--{column.replace('_', '-')}"


def _check_number(name: str, value: float) -> None:
    try:
        TypeAdapter[Any](Settings.model_fields[f"endpoint_{name}"].rebuild_annotation()).validate_python(value)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Input ")) from None


def _check_files(columns: Mapping[str, Any], before: Mapping[str, str | None]) -> Iterator[str]:
    names = ("ca_file", "client_certificate_file", "client_key_file")
    given = {name: columns[name] for name in names if columns[name] is not None}
    ca_file, certificate, key = ((given.get(name, before.get(name)) or None) for name in names)
    for name in names:
        if given.get(name):
            with _named(_flag(name)):
                _check_path(given[name])
    if given.get("ca_file") and ca_file:
        if _is_readable(ca_file):
            with _named("--ca-file"):
                checked_ca_file(Path(ca_file))
        else:
            yield _unseen("--ca-file", ca_file)
    if key and not certificate:
        raise WrongUsage("--client-key-file needs its certificate", "Name that too: --client-certificate-file FILE")
    if certificate and not given.keys().isdisjoint(names[1:]):
        unseen = [path for path in (certificate, key) if path and not _is_readable(path)]
        if unseen:
            yield from (_unseen("the client's certificate or key", path) for path in unseen)
        else:
            with _named("--client-certificate-file"):
                check_client_certificate(Path(certificate), Path(key) if key else None)


def _check_path(text: str) -> None:
    if not text.isprintable():
        raise ValueError("has a character in its name that cannot be printed")
    if not Path(text).is_absolute():
        raise ValueError("has to be an absolute path, beginning with /: the daemon works in another folder")


def _is_readable(path: str) -> bool:
    return os.access(path, os.R_OK)


def _unseen(what: str, path: str) -> str:
    return f"{what}: {path} cannot be read here, so it was not checked; the daemon has to be able to read it"
