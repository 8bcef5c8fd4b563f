"""A manifest: a file, in TOML or JSON, that declares many endpoints.

    [defaults]
    payload = "kitchen"

    [endpoints.till]
    url = "https://till.example/reservations"
    headers = ["x-api-key: ***"]
    only = ["room_name=Bar,Terrace"]

The keys of an endpoint are the options that an operator may set, by their names in ``options.py``, and two about its
signing secret. What is not given has its default. Only secrets can be kept without being in the file: ``***`` in place
of a header's value, of a URL's query or of a proxy's user and password stands for what is stored. ``endpoint export``
writes it there.

Every fault is collected, so that all of them can be reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdc_bridge.did_you_mean import did_you_mean
from cdc_bridge.endpoints.manifest_text import DEFAULTS, ENDPOINTS, parsed
from cdc_bridge.endpoints.option import Kind, Option, Setter
from cdc_bridge.endpoints.option_input import STANDARD_INPUT, checked_name, stored_value
from cdc_bridge.endpoints.option_values import SECRET_PREFIX, admit_url
from cdc_bridge.endpoints.options import OPTIONS, UnusableOption, blaming, options_for
from cdc_bridge.errors import WrongUsage

SIGNED, SECRET_FILE = "signed", "secret_file"

DECLARED = {option.name: option for option in options_for(Setter.OPERATOR)}
"""The options that a manifest declares."""

DEFAULT_VALUES = {name: option.stored(option.default) for name, option in DECLARED.items() if not option.required}
"""What an option has that is not given, in stored form."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a manifest."""

    path: tuple[str, ...]
    """Keys that lead to it, as far as they are in the file."""
    problem: str
    """Begins with the option's name, if it is about one."""

    @property
    def place(self) -> str:
        """The table that it is in; empty: it is about the whole."""
        return ".".join(self.path[: 2 if self.path[:1] == (ENDPOINTS,) else 1]) if len(self.path) > 1 else ""


@dataclass(frozen=True, slots=True)
class DeclaredEndpoint:
    """An endpoint as a manifest declares it."""

    stored: Mapping[str, Any] = field(repr=False)
    """Every option in stored form; ``***`` in it stands for what is stored."""
    signed: bool = True
    secret: str | None = field(default=None, repr=False)
    """Signing secret that the vendor made."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The endpoints that a file declares, and what is wrong with it."""

    endpoints: Mapping[str, DeclaredEndpoint]
    faults: tuple[Fault, ...] = ()

    @property
    def has_secrets(self) -> bool:
        """Whether something is in it that is never shown."""
        return any(
            DECLARED[name].concealed(value) != value
            for declared in self.endpoints.values()
            for name, value in declared.stored.items()
        )


SecretReader = Callable[[Path], str]
"""Reads a signing secret from a file; raises ``WrongUsage`` whose words begin with the name of the key."""


def read_manifest(text: str, *, allow_http: bool, secret_in: SecretReader) -> Manifest:
    """Read a manifest.

    Args:
        text: Its content.
        allow_http: Whether ``http://`` to this machine is allowed.
        secret_in: Reads a secret from a file.

    Raises:
        WrongUsage: It is neither TOML nor JSON.
    """
    reader = _Reader(allow_http=allow_http, secret_in=secret_in)
    endpoints = reader.endpoints(parsed(text))
    return Manifest(endpoints, tuple(reader.faults))


class _Reader:
    """Collects the faults of one manifest."""

    def __init__(self, *, allow_http: bool, secret_in: SecretReader) -> None:
        self._allow_http = allow_http
        self._secret_in = secret_in
        self.faults: list[Fault] = []

    def endpoints(self, manifest: Mapping[str, Any]) -> dict[str, DeclaredEndpoint]:
        known = (ENDPOINTS, DEFAULTS)
        for name in manifest:
            if name not in known:
                self._fault((name,), f"{name} is not a table of a manifest{did_you_mean(name, known)}")
        defaults = manifest.get(DEFAULTS, {})
        tables = manifest.get(ENDPOINTS)
        if not isinstance(defaults, Mapping):
            self._fault((DEFAULTS,), f"{DEFAULTS} has to be a table")
            defaults = {}
        if not isinstance(tables, Mapping):
            missing = f"there is no table {ENDPOINTS}.NAME" if tables is None else f"{ENDPOINTS} has to be a table"
            self._fault((ENDPOINTS,), missing)
            return {}
        optional = {name: option for name, option in DECLARED.items() if not option.required}
        for_all = self._values((DEFAULTS,), defaults, optional, {SIGNED: bool})
        return {name: declared for name, table in tables.items() if (declared := self._endpoint(name, table, for_all))}

    def _endpoint(self, name: str, table: Any, for_all: Mapping[str, Any]) -> DeclaredEndpoint | None:
        path = (ENDPOINTS, name)
        try:
            checked_name(name)
        except WrongUsage as error:
            self._fault(path, error.problem)
        if not isinstance(table, Mapping):
            self._fault(path, "it has to be a table")
            return None
        given = self._values(path, table, DECLARED, {SIGNED: bool, SECRET_FILE: str})
        stored = DEFAULT_VALUES | dict(for_all) | given
        signed, secret_file = stored.pop(SIGNED, True), stored.pop(SECRET_FILE, None)
        for option in DECLARED.values():
            if option.required and option.name not in table:
                self._fault(path, f"{option.name} is missing")
        if not table.get(SIGNED, True) and secret_file is not None:
            self._fault((*path, SIGNED), f"{SECRET_FILE} and {SIGNED} = false exclude each other")
        secret = None if secret_file is None else self._secret(path, secret_file)
        return DeclaredEndpoint(stored, signed or secret_file is not None, secret)

    def _values(
        self, path: tuple[str, ...], table: Mapping[str, Any], options: Mapping[str, Option], more: Mapping[str, type]
    ) -> dict[str, Any]:
        """Return the stored form of those values of a table that can be used."""
        found = {}
        for key, value in table.items():
            if key in options:
                try:
                    found[key] = self._stored(options[key], value)
                except UnusableOption as error:
                    self._fault((*path, key), str(error))
            elif key not in more:
                self._fault((*path, key), _unknown(key, [*options, *more]))
            elif not isinstance(value, more[key]):
                self._fault((*path, key), f"{key} has to be {'true or false' if key == SIGNED else 'a text'}")
            else:
                found[key] = value
        return found

    def _stored(self, option: Option, value: Any) -> Any:
        if option.optional and (value is None or value == ""):
            return None
        if (expected := _expected(option, value)) is not None:
            raise UnusableOption(option, f"has to be {expected}")
        stored = stored_value(option, value)
        if option.required:
            with blaming(option):
                admit_url(stored, allow_http=self._allow_http)
        return stored

    def _secret(self, path: tuple[str, ...], file: str) -> str | None:
        if Path(file) == STANDARD_INPUT or file.startswith(SECRET_PREFIX) or not file.isprintable():
            self._fault((*path, SECRET_FILE), f"{SECRET_FILE} has to name a file, in which the secret is")
            return None
        try:
            return self._secret_in(Path(file))
        except WrongUsage as error:
            self._fault((*path, SECRET_FILE), error.problem)
            return None

    def _fault(self, path: tuple[str, ...], problem: str) -> None:
        self.faults.append(Fault(path, problem))


def _unknown(key: str, known: list[str]) -> str:
    if key in OPTIONS and key not in DECLARED:
        return f"{key} cannot be in a manifest; a secret that the vendor made comes from a file: {SECRET_FILE}"
    return f"{key} is not an option{did_you_mean(key, known)}"


def _expected(option: Option, value: Any) -> str | None:
    """Return what a value of an option has to be; ``None``: it is of this type."""
    match option.kind:
        case Kind.LINES:
            fits = isinstance(value, list) and all(isinstance(line, str) for line in value)
            return None if fits else "a list of texts"
        case Kind.SWITCH:
            return None if isinstance(value, bool) else "true or false"
        case Kind.NUMBER if option.value_type is int:
            return None if type(value) is int else "a whole number"
        case Kind.NUMBER:
            return None if type(value) in {int, float} else "a number"
        case _:
            return None if isinstance(value, str) else "a text"
