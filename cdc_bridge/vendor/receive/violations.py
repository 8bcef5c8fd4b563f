"""In what a body departs from the contract's schema, said without anything of the body: that is guests' data."""

from __future__ import annotations

from datetime import datetime
from functools import cache

import orjson
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from cdc_bridge.vendor.contract import schema

_MOST_NAMED = 3


def violations_of(body: bytes) -> tuple[str, ...]:
    """Return each departure: where, which keyword of the schema, and what that expects; none where it is kept."""
    try:
        reservation = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ("it is not JSON",)
    # Every key that a level lacks is an error of its own there, and they all have the same words.
    return tuple(dict.fromkeys(_in_words(error) for error in _validator().iter_errors(reservation)))


def _in_words(error: ValidationError) -> str:
    # The path has only keys that the schema knows: what others hold is not looked at.
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        return f"{error.json_path} lacks {', '.join(missing[:_MOST_NAMED])}{more}"
    return f"{error.json_path} fails {error.validator} {orjson.dumps(error.validator_value).decode()}"


@cache
def _validator() -> Draft202012Validator:
    # jsonschema checks date-time only where another package is installed.
    formats = FormatChecker(formats=())
    formats.checks("date-time", raises=ValueError)(_is_date_time)
    return Draft202012Validator(schema(), format_checker=formats)


def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))
