"""Validates a body against a schema: the contract's, or another. Messages quote that only: bodies are guests' data.

A *fault* names the key and its kind alone, so that the faults of many bodies can be counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError

from cdc_bridge.vendor.contract import schema

_NAMED_AT_MOST = 3
_THE_BODY = "the body"
_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """In what a key of a body violates the schema."""

    key: str
    """A dot nests, as in the payload's columns."""
    kind: str
    """What its value is or is not, such as ``missing`` or ``no date-time``; never the value."""

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.key} is {self.kind}"


def validator_of(schema_: dict[str, Any]) -> Draft202012Validator:
    """Return what validates against a schema.

    Raises:
        ValueError: It is none.
    """
    try:
        Draft202012Validator.check_schema(schema_)
    except SchemaError as error:
        raise ValueError(f"is no JSON Schema: {error.json_path} fails {error.validator}") from None
    # jsonschema validates date-time only if another package is installed.
    formats = FormatChecker(formats=())
    formats.checks("date-time", raises=ValueError)(_is_date_time)
    return Draft202012Validator(schema_, format_checker=formats)


def violations_of(body: bytes, validator: Draft202012Validator | None = None) -> tuple[str, ...]:
    """Return each violation: the path, the schema's keyword, and what it expects; none if the body is valid.

    Args:
        body: The body.
        validator: Of another schema than the contract's.
    """
    try:
        errors = _errors_of(body, validator)
    except orjson.JSONDecodeError:
        return ("not JSON",)
    # jsonschema reports every missing key of an object by itself; the message below names them all at once.
    return tuple(dict.fromkeys(map(_message, errors)))


def faults_of(body: bytes, validator: Draft202012Validator | None = None) -> tuple[Fault, ...]:
    """Return each fault: none if the body is valid.

    Args:
        body: The body.
        validator: Of another schema than the contract's.
    """
    try:
        errors = _errors_of(body, validator)
    except orjson.JSONDecodeError:
        return (Fault(_THE_BODY, "not JSON"),)
    return tuple(dict.fromkeys(fault for error in errors for fault in _faults(error)))


def _errors_of(body: bytes, validator: Draft202012Validator | None) -> list[ValidationError]:
    return list((validator or _of_contract()).iter_errors(orjson.loads(body)))


def _faults(error: ValidationError) -> Iterator[Fault]:
    path = [str(key) for key in error.absolute_path]
    if error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield Fault(".".join([*path, name]), "missing")
    else:
        yield Fault(".".join(path) or _THE_BODY, _kind(error))


def _kind(error: ValidationError) -> str:
    expected = error.validator_value
    match error.validator:
        case "type":
            wanted = " or ".join([expected] if isinstance(expected, str) else expected)
            return f"{_JSON_TYPES[type(error.instance)]}, not {wanted}"
        case "enum":
            return _none_of([orjson.dumps(value).decode() for value in expected])
        case "format":
            return f"no {expected}"
        case "pattern":
            is_key = "integer" in error.schema.get("type", ())
            return f"neither an integer nor of the form {expected}" if is_key else f"not of the form {expected}"
    return f"against {error.validator} {orjson.dumps(expected).decode()}"


def _none_of(values: Sequence[str]) -> str:
    return f"neither {values[0]} nor {values[1]}" if len(values) == 2 else f"none of {', '.join(values)}"


def _message(error: ValidationError) -> str:
    # The path contains keys of the schema only: unknown keys are not validated.
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        more = f" and {len(missing) - _NAMED_AT_MOST} more" if len(missing) > _NAMED_AT_MOST else ""
        return f"{error.json_path} lacks {', '.join(missing[:_NAMED_AT_MOST])}{more}"
    return f"{error.json_path} fails {error.validator} {orjson.dumps(error.validator_value).decode()}"


@cache
def _of_contract() -> Draft202012Validator:
    return validator_of(schema())


def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))
