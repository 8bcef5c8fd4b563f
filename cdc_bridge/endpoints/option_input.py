"""Checks the options that an operator sets, by command or on the dashboard.

A file that an endpoint names lies on the daemon's machine, which need not be the one where the command runs. So a file
that can be read here is checked here, and of any other there is a warning.
"""

from __future__ import annotations

import os
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from cdc_bridge.endpoints.option import Kind, Option, Setter
from cdc_bridge.endpoints.option_values import SECRET_PREFIX, admit_url, same_origin, secret_key
from cdc_bridge.endpoints.options import (
    NAME_IN_SETTINGS,
    OPTIONS,
    UnusableOption,
    blaming,
    check_client_certificate,
    options_for,
)
from cdc_bridge.errors import Fault, Faults, FaultyInput, WrongUsage
from cdc_bridge.own_files import user_name

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
STANDARD_INPUT = Path("-")
SECRET = "secret"  # noqa: S105 - the name of what is given
SECRET_FLAG = "--secret-file"  # noqa: S105 - the flag that names its file
_CERTIFICATE, _KEY = "client_certificate_file", "client_key_file"
_HOW_TO_MAKE_ONE = (
    "A secret is whsec_ and 24 to 64 random bytes in base64; sender and receiver have the same one. To make one: "
    'echo "whsec_$(openssl rand -base64 32)" > secret'
)
"""Stands behind whatever is wrong with a secret or its file."""

Given = Mapping[str, Any]
"""Options by name, only those that were given. An empty text, or no header line at all, removes what there was."""


class SecretsForNewHostMissing(WrongUsage):
    """A new URL leads to another server, and it was not said what that server gets."""


@dataclass(frozen=True, slots=True)
class CheckedOptions:
    """Options that can be stored."""

    stored: Mapping[str, Any] = field(default_factory=dict)
    """The stored form of those that were given."""
    warnings: tuple[str, ...] = ()
    """What could not be checked here."""


def checked_name(name: str) -> str:
    """Return the name of a new endpoint.

    Raises:
        FaultyInput: It may not have this name.
    """
    if name == NAME_IN_SETTINGS:
        raise FaultyInput(
            Fault(
                "name",
                "NAME",
                f"{name} belongs to the endpoint that a daemon's settings declare",
                f"Take another name; or set {OPTIONS['url'].variable} where the daemon runs.",
            )
        )
    if not NAME.fullmatch(name):
        raise FaultyInput(
            Fault(
                "name",
                "NAME",
                "has to be of lower-case letters, digits, - and _, begin with a letter or a digit and have at most "
                "63 of them",
                "For example: till, till-2, kitchen_screen",
            )
        )
    return name


def with_defaults(given: Given) -> dict[str, Any]:
    """Add the defaults of the options that were not given."""
    return {option.name: option.default for option in options_for(Setter.OPERATOR)} | dict(given)


def checked_options(given: Given, *, allow_http: bool, before: Mapping[str, Any] | None = None) -> CheckedOptions:
    """Check what was given, and return it in stored form.

    Args:
        given: The options.
        allow_http: Whether ``http://`` to this machine is allowed.
        before: The endpoint's options so far, where it exists already.

    Raises:
        FaultyInput: Some cannot be used; names each, and never repeats a value that may be secret.
    """
    stored: dict[str, Any] = {}
    faults = Faults()
    for name, value in given.items():
        with faults.noted(), _naming_flags():
            stored[name] = stored_value(OPTIONS[name], value)
    if "url" in stored:
        with faults.noted(), _naming_flags(), blaming(OPTIONS["url"]):
            admit_url(stored["url"], allow_http=allow_http)
    if _CERTIFICATE in stored and stored[_CERTIFICATE] is None and _KEY not in given:
        stored[_KEY] = None  # Without its certificate it serves nothing.
    warnings = tuple(check_files(stored, before or {}, noted=partial(_noting_flags, faults)))
    faults.raise_any()
    return CheckedOptions(stored, warnings)


def require_secrets_for_new_host(given: Given, before: Mapping[str, Any], *, new_secret: bool) -> None:
    """Make sure that what was meant for one server alone is not sent to another one by a change of the URL.

    A client certificate may stay: its key is never sent, and a handshake with one server is of no use at another.

    Args:
        given: The options that change.
        before: What is shown of the endpoint's options so far.
        new_secret: Whether it gets a new signing secret, made here or by the vendor.

    Raises:
        SecretsForNewHostMissing: The URL leads to another server, and headers or signing secret were not given anew.
    """
    if "url" not in given or is_same_server(given["url"], before["url"]):
        return
    missing = []
    if before["header_names"] and "headers" not in given:
        missing.append("headers")
    if before["signed"] and not new_secret:
        missing.append("signing secret")
    if missing:
        raise SecretsForNewHostMissing(
            f"URL leads to another server, and {' and '.join(missing)} of the one before are not sent there unless you "
            "say so",
            "New headers: --header (for none: --header ''). New secret: --new-secret or --secret-file. To keep both: "
            "--keep-headers",
        )


def is_same_server(url: str, before: str) -> bool:
    """Return whether two URLs lead to the same server."""
    try:
        return same_origin(url, before)
    except ValueError:
        return False  # What psql wrote there leads nowhere.


def header_lines_of(file: Path) -> tuple[str, ...]:
    """Return the header lines in a file; ``-`` is standard input.

    Raises:
        WrongUsage: It cannot be read, or has none.
    """
    lines = _lines_of(file, "--header-file")
    if not lines:
        raise WrongUsage(f"--header-file {file} has no header in it", "To remove all headers: --header ''")
    return lines


def line_of(file: Path, flag: str, remedy: str = "") -> str:
    """Return the only line in a file, which may hold a secret; ``-`` is standard input.

    Args:
        file: The file.
        flag: The flag that names it.
        remedy: What to do if it cannot be used.

    Raises:
        WrongUsage: It cannot be read, or has none or several.
    """
    lines = _lines_of(file, flag, remedy)
    if len(lines) != 1:
        raise WrongUsage(f"{flag} {file} has to hold one line, not {len(lines)}", remedy)
    return lines[0].strip()


def secret_line_of(file: Path, named: str = SECRET_FLAG) -> str:
    """Return the only line in a file with a signing secret, not checked yet.

    Args:
        file: The file.
        named: The flag or the key that names it.

    Raises:
        WrongUsage: It cannot be read, or has none or several.
    """
    return line_of(file, named, _HOW_TO_MAKE_ONE)


def checked_secret(secret: str, named: str = SECRET_FLAG) -> str:
    """Return a signing secret that the vendor made, as it is stored.

    Args:
        secret: The secret.
        named: The flag or the key that names its file.

    Raises:
        FaultyInput: It is not one. Repeats nothing of it.
    """
    try:
        return SECRET_PREFIX + b64encode(secret_key(secret)).decode()
    except ValueError as error:
        raise FaultyInput(Fault(SECRET, named, str(error), _HOW_TO_MAKE_ONE)) from None


def _lines_of(file: Path, flag: str, remedy: str = "") -> tuple[str, ...]:
    """Return the lines in a file but the empty ones; ``-`` is standard input."""
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
        return tuple(line for line in data.decode().splitlines() if line.strip())
    except OSError as error:
        by_flag = flag.startswith("--")
        raise unreadable_file(f"{flag} {file}", error, f"{flag} - < {file}" if by_flag else "", remedy) from None
    except UnicodeDecodeError:
        raise WrongUsage(f"{flag} {file} is not UTF-8", remedy) from None


def unreadable_file(named: str, error: OSError, on_standard_input: str, remedy: str = "") -> WrongUsage:
    """Return the error to raise for a file that cannot be read.

    Args:
        named: The file, as it was given.
        error: Why it cannot be read.
        on_standard_input: How to pass it there, where that is possible: whoever calls the command may read more.
        remedy: What to do in all other cases.
    """
    if not isinstance(error, PermissionError):
        return WrongUsage(f"{named} cannot be read: {error.strerror}", remedy)
    if on_standard_input:
        remedy = f"Pass it on standard input: {on_standard_input}"
    return WrongUsage(f"{named} cannot be read by user {user_name()}: {error.strerror}", remedy)


@contextmanager
def _naming_flags() -> Iterator[None]:
    try:
        yield
    except UnusableOption as error:
        raise unusable_flag(error) from None


def unusable_flag(error: UnusableOption) -> FaultyInput:
    """Return what is wrong with an option in the words of the command line."""
    return FaultyInput(option_fault(error.option, error.problem))


def option_fault(option: Option, problem: str, remedy: str = "") -> Fault:
    """Return a fault of an option's value; the words follow its name."""
    return Fault(option.name, "URL" if option.required else option.flag, problem, remedy)


def stored_value(option: Option, value: Any) -> Any:
    """Return the stored form of a value that was given.

    Raises:
        UnusableOption: It cannot be used.
    """
    if option.optional and (value is None or value == ""):
        return None
    with blaming(option):
        typed = option.typed(value)
        match option.kind:
            case Kind.FILE:
                return _file_name(typed)
            case _:
                return option.stored(option.usable(typed))


def _file_name(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has a character in its name that cannot be printed")
    if not Path(text).is_absolute():
        raise ValueError("has to be an absolute path, beginning with /: the daemon works in another folder")
    return text


@contextmanager
def _noting_flags(faults: Faults) -> Iterator[None]:
    with faults.noted(), _naming_flags():
        yield


def check_files(
    stored: Mapping[str, Any],
    before: Mapping[str, Any],
    *,
    named: Callable[[Option], str] = attrgetter("flag"),
    noted: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[str]:
    """Check the files that were given and can be read here; say which cannot.

    Args:
        stored: The options that are given, in stored form.
        before: The endpoint's options so far.
        named: Returns what an option is called where it was given.
        noted: Takes what a check of one option raises.

    Raises:
        UnusableOption: One cannot be used, and nothing takes note of that.
    """
    files = {option.name: option for option in OPTIONS.values() if option.kind is Kind.FILE}
    paths = {name: stored.get(name, before.get(name)) for name in files}
    given = [name for name in files if stored.get(name) is not None]
    pair = (_CERTIFICATE, _KEY)
    checked = {*given, *pair} if not stored.keys().isdisjoint(pair) else set(given)
    unreadable = [name for name in files if name in checked and paths[name] and not os.access(paths[name], os.R_OK)]
    for name in unreadable:
        yield (
            f"{named(files[name])}: {paths[name]} cannot be read here, so it was not checked; the daemon has to be "
            "able to read it"
        )
    for name in given:
        if name not in unreadable:
            with noted(), blaming(files[name]):
                files[name].usable(paths[name])
    certificate, key = (Path(path) if path else None for path in (paths[_CERTIFICATE], paths[_KEY]))
    if checked.issuperset(pair) and (certificate is None or not set(unreadable).intersection(pair)):
        with noted():
            check_client_certificate(certificate, key)
