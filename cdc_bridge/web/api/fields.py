"""Declares the fields of requests: members of a body and parameters of a query, each with its schema and its check.

The fields of an endpoint's options derive from their declaration. Their values are checked where those of commands and
forms are (:mod:`cdc_bridge.endpoints.option_input`); here they are only handed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any

from cdc_bridge.did_you_mean import did_you_mean
from cdc_bridge.endpoints.option import Kind, Option, Setter
from cdc_bridge.endpoints.options import options_for
from cdc_bridge.errors import Fault, FaultyInput, shortened

OPTIONS_TO_SET = options_for(Setter.OPERATOR)

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_WHOLE_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)
_MOST_UNKNOWN = 20
"""Fields for which the nearest name is looked for, which takes some time."""
_NUL = "\0"

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a request."""

    name: str
    description: str
    schema: Schema
    """JSON Schema of its value."""
    read: Callable[[Any], Any]
    """Returns what a value means; raises ``ValueError`` with words that follow the field's name."""
    default: Any = None
    """What it means if it is not given."""
    required: bool = False
    repeated: bool = False
    """In a query: whether it may be given several times; its value is a list."""


@dataclass(frozen=True, slots=True)
class Input:
    """The fields of a request."""

    values: Mapping[str, Any]
    """What each field means, also of those that were not given."""
    given: frozenset[str]
    faults: Sequence[Fault]
    """Fields that cannot be used, or that there are not."""

    def require_usable(self) -> None:
        """Make sure that all fields can be used.

        Raises:
            FaultyInput: Some cannot.
        """
        if self.faults:
            raise FaultyInput(*self.faults)

    @property
    def options(self) -> dict[str, Any]:
        """The endpoint's options that were given."""
        return {option.name: self.values[option.name] for option in OPTIONS_TO_SET if option.name in self.given}


def read_fields(given: Mapping[str, Any], fields: Sequence[Field]) -> Input:
    """Read the fields of a body or a query."""
    known = {field.name: field for field in fields}
    values = {field.name: field.default for field in fields}
    unknown = [name for name in given if name not in known][:_MOST_UNKNOWN]
    faults = [_fault(name, f"is not known{did_you_mean(name, known)}") for name in unknown]
    for name, field in known.items():
        if name in given:
            try:
                values[name] = field.read(given[name])
            except ValueError as error:
                faults.append(_fault(name, str(error)))
    return Input(values, frozenset(given.keys() & known.keys()), faults)


def _fault(name: str, problem: str) -> Fault:
    return Fault(shortened(name), shortened(name), problem)


def option_fields(*, adding: bool) -> Iterable[Field]:
    """Return the fields of an endpoint's options.

    Args:
        adding: Whether they are those of a new endpoint.
    """
    for option in OPTIONS_TO_SET:
        yield Field(
            name=option.name,
            description=f"{option.description}.",
            schema=option_schema(option, with_default=adding),
            read=partial(_or_removed, () if option.kind is Kind.LINES else "" if option.optional else None),
            default="" if option.required else None,  # Says what is missing in the words of the form.
            required=adding and option.required,
        )


def _or_removed(removed: Any, value: Any) -> Any:
    """Return an option's value, or in place of null what stands for none."""
    return removed if value is None else value


def option_schema(option: Option, *, with_default: bool) -> dict[str, Any]:
    """Return the JSON Schema of an option's value."""
    schema: dict[str, Any]
    match option.kind:
        case Kind.NUMBER:
            limits = {"minimum": option.minimum, "exclusiveMinimum": option.above, "maximum": option.maximum}
            schema = {"type": "integer" if option.value_type is int else "number"}
            schema |= {name: limit for name, limit in limits.items() if limit is not None}
        case Kind.SWITCH:
            schema = {"type": "boolean"}
        case Kind.LINES:
            schema = {"type": "array", "items": {"type": "string"}}
            schema |= {"examples": [[option.example]]} if option.example else {}
        case Kind.CHOICE:
            schema = {"type": "string", "enum": [*option.choices]}
        case _:
            schema = {"type": "string"}
    if option.secret or option.mask is not None:
        schema["writeOnly"] = True
    if option.optional or option.kind is Kind.LINES:
        schema["type"] = [schema["type"], "null"]
    if with_default and not option.required and not option.optional:
        schema["default"] = option.stored(option.default)
    return schema


def text(
    name: str,
    description: str,
    *,
    pattern: str | None = None,
    required: bool = False,
    nullable: bool = False,
    default: Any = None,
) -> Field:
    """Return a field for a text. Its pattern is checked where it is used."""

    def read(value: Any) -> str | None:
        if value is None and nullable:
            return None
        if not isinstance(value, str):
            raise ValueError("has to be a text")  # noqa: TRY004 - words that follow the field's name
        if _NUL in value:
            raise ValueError("has a character that PostgreSQL does not store")
        return value

    schema: dict[str, Any] = {"type": ["string", "null"] if nullable else "string"}
    schema |= {} if pattern is None else {"pattern": pattern}
    return Field(name=name, description=description, schema=schema, read=read, required=required, default=default)


def texts(name: str, description: str, *, most: int) -> Field:
    """Return a field for a list of texts."""
    one = text(name, description)

    def read(value: Any) -> list[str]:
        if not isinstance(value, list):
            raise ValueError("has to be a list of texts")  # noqa: TRY004
        if len(value) > most:
            raise ValueError(f"has more than {most} texts")
        return [one.read(each) for each in value]

    schema = {"type": "array", "items": {"type": "string"}, "maxItems": most}
    return Field(name=name, description=description, schema=schema, read=read, default=[], repeated=True)


def choices(name: str, description: str, of: type[StrEnum]) -> Field:
    """Return a field for some of several words."""
    words = [each.value for each in of]

    def read(value: Any) -> list[StrEnum]:
        if not isinstance(value, list) or any(each not in words for each in value):
            raise ValueError(f"has to be one or more of {', '.join(words)}")
        return [of(each) for each in value]

    schema = {"type": "array", "items": {"type": "string", "enum": words}}
    return Field(name=name, description=description, schema=schema, read=read, default=[], repeated=True)


def choice(name: str, description: str, words: Sequence[str]) -> Field:
    """Return a field for one of several words; the first one is its default."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"has to be one of {', '.join(words)}")
        return str(value)

    schema = {"type": "string", "enum": [*words], "default": words[0]}
    return Field(name=name, description=description, schema=schema, read=read, default=words[0])


def switch(name: str, description: str, *, default: bool = False) -> Field:
    """Return a field that is true or false."""

    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("has to be true or false")  # noqa: TRY004
        return value

    schema = {"type": "boolean", "default": default}
    return Field(name=name, description=description, schema=schema, read=read, default=default)


def number(name: str, description: str, *, minimum: float, maximum: float, default: float) -> Field:
    """Return a field for a number. Its limits are checked where it is used."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("has to be a number")  # noqa: TRY004
        return value

    schema = {"type": "number", "minimum": minimum, "maximum": maximum, "default": default}
    return Field(name=name, description=description, schema=schema, read=read, default=default)


def instant(name: str, description: str) -> Field:
    """Return a field for a time with its zone (RFC 3339)."""

    def read(value: Any) -> datetime | None:
        try:
            if isinstance(value, str) and _INSTANT.fullmatch(value):
                return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise ValueError("has to be a time with its zone, such as 2026-07-01T18:30:00Z or 2026-07-01T18:30:00+01:00")

    return Field(name=name, description=description, schema={"type": "string", "format": "date-time"}, read=read)


def limit(*, default: int, most: int) -> Field:
    """Return the parameter for the size of a page."""

    def read(value: Any) -> int:
        if not _WHOLE_NUMBER.fullmatch(value) or not 1 <= int(value) <= most:
            raise ValueError(f"has to be a whole number from 1 to {most}")
        return int(value)

    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Field(name="limit", description="Size of a page.", schema=schema, read=read, default=default)
