"""The declaration of one endpoint option, and what is derived from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto
from math import isfinite
from pathlib import Path
from typing import Any


class Setter(Enum):
    """Who may set an option."""

    OPERATOR = auto()
    """By command or on the dashboard, in the database."""
    SETTINGS = auto()
    """In a daemon's settings, for the endpoint that they declare."""


class Group(StrEnum):
    """Options that are shown together in help."""

    REQUEST = "Request"
    CONTENT = "What is sent"
    PACE = "Pace"
    TLS = "TLS"


class Kind(StrEnum):
    """How the value of an option is written and shown; follows from its type."""

    TEXT = "text"
    LINES = "lines"
    KEY = "key"
    TIME = "time"
    FILE = "file"
    NUMBER = "number"
    SWITCH = "switch"
    CHOICE = "choice"


_KINDS: dict[type, Kind] = {
    str: Kind.TEXT,
    tuple: Kind.LINES,
    bytes: Kind.KEY,
    datetime: Kind.TIME,
    Path: Kind.FILE,
    int: Kind.NUMBER,
    float: Kind.NUMBER,
    bool: Kind.SWITCH,
}
_EVERYBODY = tuple(Setter)

CONCEALED = "***"
"""Stands in a manifest for what is stored and never shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option's declaration, beside its type and default."""

    label: str
    """A noun phrase, for ``show`` and the dashboard."""
    help: str
    """What it means, without a full stop."""
    unit: str = ""
    above: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    read: Callable[[Any], Any] | None = None
    """Converts the stored value to its usable form; raises ``ValueError`` with words that follow the option's name."""
    write: Callable[[Any], str] = str
    """Converts a line's usable form to the stored one."""
    example: str = ""
    """What a line looks like."""
    mask: Callable[[str], str] | None = None
    """Removes what must not be shown from the stored value."""
    conceal: Callable[[str], str] | None = None
    """Puts ``***`` into the stored value, or into a line of it, in place of what must not be shown."""
    secret: bool = False
    """Never shown, and kept from the database's readers."""
    secret_part: re.Pattern[str] | None = None
    """What of the stored value, or of a line of it, is secret: its group. It is what ``secrets_key_file`` encrypts."""
    for_vendor: bool = False
    """Whether the endpoint's vendor sees it in the portal; not what is the restaurant's business, such as files."""
    setters: Sequence[Setter] = _EVERYBODY
    shown_as: str | None = ""
    """Its key in JSON, if not its name: something else is shown for a secret. ``None``: nothing is."""
    singular: str = ""
    """Name of the setting and of the flag, where the flag is given once for each line."""
    off: str = ""
    """Flag that switches it off."""
    absent: str = "none"
    """Text shown for no value."""
    group: Group = Group.REQUEST
    """Where help shows it."""
    in_front: bool = False
    """Whether the form shows it before all others."""

    # Filled in from the field that is declared.
    name: str = ""
    value_type: type = str
    optional: bool = False
    """Whether it may have no value."""
    required: bool = False
    """Whether it has no default."""
    default: Any = None

    @property
    def kind(self) -> Kind:
        """How its value is written and shown."""
        return Kind.CHOICE if self.choices else _KINDS[self.value_type]

    @property
    def choices(self) -> Sequence[str]:
        """All values that it may have; empty where there is no list of them."""
        return [choice.value for choice in self.value_type] if issubclass(self.value_type, StrEnum) else []

    @property
    def description(self) -> str:
        """What it means, with its unit."""
        return f"{self.help}, in {self.unit}" if self.unit else self.help

    @property
    def setting(self) -> str:
        """Name of its setting."""
        return f"endpoint_{self.singular or self.name}"

    @property
    def variable(self) -> str:
        """Environment variable of its setting."""
        return f"CDC_BRIDGE_{self.setting.upper()}"

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return f"--{(self.singular or self.name).replace('_', '-')}"

    @property
    def json_key(self) -> str | None:
        """Its key where it is shown; ``None``: it is not."""
        return None if self.shown_as is None else self.shown_as or self.name

    @property
    def sent_back(self) -> bool:
        """Whether a form may show its value to whoever changes it."""
        return not self.secret and self.mask is None

    @property
    def read_from_file(self) -> bool:
        """Whether a flag reads its value from a file: every user of the machine can read a command line."""
        return self.kind is Kind.LINES or (self.mask is not None and not self.required)

    def typed(self, given: Any) -> Any:
        """Return a value that was given, in its type: JSON has any in any place.

        Raises:
            ValueError: It is of another type; the words follow the option's name.
        """
        match self.kind:
            case Kind.NUMBER:
                if isinstance(given, bool) or not isinstance(given, int | float):
                    raise ValueError("has to be a number")  # noqa: TRY004 - the words of an option
                if self.value_type is not int:
                    return given
                if not isfinite(given) or given != int(given):
                    raise ValueError("has to be a whole number")
                return int(given)
            case Kind.SWITCH if not isinstance(given, bool):
                raise ValueError("has to be true or false")
            case Kind.LINES if not isinstance(given, list | tuple):
                raise ValueError("has to be a list of texts")
            case Kind.TEXT | Kind.FILE | Kind.CHOICE if not isinstance(given, str):
                raise ValueError("has to be a text")
            case _:
                return given

    def usable(self, stored: Any) -> Any:
        """Return the usable form of its stored value.

        Raises:
            ValueError: It cannot be used; the words follow the option's name and repeat nothing secret.
        """
        if stored is None and self.optional:
            return None
        if self.kind is Kind.NUMBER:
            self._check_limits(stored)
        if self.kind is Kind.CHOICE:
            if stored not in self.choices:
                raise ValueError(f"has to be one of {', '.join(self.choices)}")
            return self.value_type(stored)
        return stored if self.read is None else self.read(stored)

    def stored(self, usable: Any) -> Any:
        """Return the stored form of its usable value, for an option whose two forms say the same."""
        match usable:
            case Path() | StrEnum():
                return str(usable)
            case tuple():
                return [self.write(line) for line in usable]
            case _:
                return usable

    def shown(self, stored: Any) -> Any:
        """Return as much of its stored value as may be shown."""
        return stored if self.mask is None or stored is None else self.mask(stored)

    def concealed(self, stored: Any) -> Any:
        """Return its stored value with ``***`` in place of what must not be shown: ``endpoint apply`` keeps that."""
        if self.conceal is None or stored is None:
            return stored
        return [self.conceal(line or "") for line in stored] if self.kind is Kind.LINES else self.conceal(stored)

    def _check_limits(self, number: float) -> None:
        if self.above is not None and not number > self.above:
            raise ValueError(f"should be greater than {self.above:g}")
        if self.minimum is not None and not number >= self.minimum:
            raise ValueError(f"should be greater than or equal to {self.minimum:g}")
        if self.maximum is not None and not number <= self.maximum:
            raise ValueError(f"should be less than or equal to {self.maximum:g}")
