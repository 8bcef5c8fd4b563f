"""Values of an endpoint's options that are not their defaults, whatever the options are."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from cdc_bridge.endpoints.option import Kind, Option

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def another_value(option: Option) -> Any:
    """Return a value in stored form that is not the default."""
    if option.name == "proxy":
        return "http://another.example:3128"
    values: dict[Kind, Any] = {
        Kind.TEXT: "https://another.example/x",
        Kind.LINES: ["x-another: header"],
        Kind.KEY: "whsec_" + b64encode(option.name.ljust(32).encode()).decode(),
        Kind.TIME: NOON,
        Kind.FILE: f"/another/{option.name}.pem",
        Kind.SWITCH: not option.default,
    }
    if option.kind is Kind.CHOICE:
        return option.choices[-1]
    if not option.secret and option.kind is Kind.LINES:
        return ["room_name=Restaurant,Terrace"]
    if option.name == "payload":
        return "kitchen"
    if option.kind is Kind.NUMBER:
        return option.value_type((option.default or option.minimum or 1) + 1)
    return values[option.kind]


def typed(value: Any) -> str:
    """Return a value in stored form as it is typed into a form."""
    match value:
        case bool():
            return "on" if value else ""
        case list():
            return "\n".join(value)
        case _:
            return str(value)
