"""Validates a body against a schema: the contract's, or another. Messages quote that only: bodies are guests' data."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError

from cdc_bridge.vendor.contract import schema

_NAMED_AT_MOST = 3


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
        reservation = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ("not JSON",)
    # jsonschema reports every missing key of an object by itself; the message below names them all at once.
    return tuple(dict.fromkeys(_message(error) for error in (validator or _of_contract()).iter_errors(reservation)))


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
