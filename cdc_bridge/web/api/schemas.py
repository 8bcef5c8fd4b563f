"""JSON Schemas of responses, derived from the types of what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.lookup import DeliveryDetails
from cdc_bridge.deliveries.test_request import TestResult
from cdc_bridge.deliveries.timeline import TimelineAttempt
from cdc_bridge.endpoints.option import Kind, Option
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.model import SkipReason
from cdc_bridge.web.api.fields import Schema

TEXT: dict[str, Any] = {"type": "string"}
TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}
NUMBER: dict[str, Any] = {"type": "integer"}
SWITCH: dict[str, Any] = {"type": "boolean"}
TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
TIME_OR_NULL: dict[str, Any] = {"type": ["string", "null"], "format": "date-time"}

_SIMPLE: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}

SECRET = {
    "type": ["string", "null"],
    "description": "The new signing secret, shown in this response only; null if none was made.",
}
WARNINGS = TEXTS | {"description": "What could not be checked, and what may not be meant."}


def ref(name: str) -> dict[str, str]:
    """Return a reference to a schema of :data:`COMPONENTS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(properties: Mapping[str, Schema]) -> dict[str, Any]:
    """Return the schema of an object that always has these keys and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [*properties],
        "additionalProperties": False,
    }


def page_of(name: str, items: str) -> dict[str, Any]:
    """Return the schema of a page of a list.

    Args:
        name: Key of the list.
        items: Name of the schema of what is in it.
    """
    next_ = TEXT_OR_NULL | {"description": "Link to the next page; null: this is the last one."}
    return object_of({name: {"type": "array", "items": ref(items)}, "next": next_})


def schema_of(hint: Any) -> dict[str, Any]:
    """Return the schema of a type."""
    hint = getattr(hint, "__supertype__", hint)
    if hint in _SIMPLE:
        return {"type": _SIMPLE[hint]}
    if hint is datetime:
        return {"type": "string", "format": "date-time"}
    if get_origin(hint) in {Union, UnionType}:
        (schema,) = (schema_of(each) for each in get_args(hint) if each is not NoneType)
        nullable = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
        return schema | {"type": [schema["type"], "null"]} | nullable
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"type": "string", "enum": [each.value for each in hint]}
    raise TypeError(f"no schema for {get_origin(hint) or hint}")


def _of_fields(of: type, names: Iterable[str], meanings: Mapping[str, str]) -> dict[str, Any]:
    hints = get_type_hints(of)
    return {
        name: schema_of(hints[name]) | ({"description": meanings[name]} if name in meanings else {}) for name in names
    }


def option_shown(option: Option) -> dict[str, Any]:
    """Return the schema of what is shown of an option."""
    schema: dict[str, Any]
    match option.kind:
        case Kind.KEY:
            schema = {"type": "boolean"}
        case Kind.LINES:
            schema = {"type": "array", "items": {"type": "string"}}
        case Kind.TIME:
            schema = {"type": "string", "format": "date-time"}
        case _:
            schema = schema_of(option.value_type) if option.kind is not Kind.FILE else {"type": "string"}
    if option.secret or option.optional:
        schema["type"] = [schema["type"], "null"]
    elsewhere = " Null if it stands in a daemon's settings." if option.secret else ""
    return schema | {"description": f"{option.label}.{elsewhere}"}


_OVERVIEW = ("name", "url", "in_settings", "status", "since", "next_probe_at", "reason")
_OVERVIEW_MEANINGS = {
    "url": "Without its query, which may be secret.",
    "in_settings": "Whether a daemon's settings declare it; it is changed there only.",
    "since": "When the status began, if that is known.",
    "next_probe_at": "When a failing endpoint is tried again.",
    "reason": "Why it has its status.",
    "rate_limited_since": "Since when requests have had to wait for max_per_second.",
    "daemon": "Host and process of the daemon that delivers to it.",
}

_STATUS = (
    _of_fields(EndpointOverview, _OVERVIEW, _OVERVIEW_MEANINGS)
    | {"lag_reason": TEXT_OR_NULL | {"description": "Why it lags though nothing is wrong."}}
    | _of_fields(EndpointOverview, ("rate_limited_since", "daemon"), _OVERVIEW_MEANINGS)
)

_COUNT = object_of({"number": NUMBER, "exact": SWITCH | {"description": "If not, there are at least so many."}})

_ENDPOINT = (
    _STATUS
    | {option.json_key: option_shown(option) for option in OPTIONS.values() if option.json_key is not None}
    | {
        "created_at": {"type": "string", "format": "date-time"},
        "pending": ref("Count"),
        "dead": ref("Count"),
        "delivered_24h": ref("Count"),
        "skipped": object_of({reason.value: NUMBER for reason in SkipReason}),
        "backlog": ref("Count"),
        "reconciled_at": TIME_OR_NULL,
        "reconciled_missing": {"type": ["integer", "null"]},
        "reconciled_stale": {"type": ["integer", "null"]},
        "revision": TEXT_OR_NULL | {"description": "Of its options, as in ETag; null if your token may not change it."},
    }
)

_DELIVERY_MEANINGS = {
    "seq": "Number of the change.",
    "skip_reason": "Why nothing was sent, if it is skipped.",
    "failures": "Failed attempts that count for the retry schedule.",
    "next_attempt_at": "Null: there is none, or a newer delivery covers it.",
    "last_status": "HTTP status of the last response.",
    "last_error": "Why the last attempt failed.",
    "message_id": "webhook-id of the last attempt.",
    "recorded_at": "Null: it is queued in the change log.",
    "newest_seq": "The newest delivery of this reservation to this endpoint.",
    "newer_delivered_seq": "The newest later delivery that was delivered.",
}
_ATTEMPT_MEANINGS = {
    "number": "Of many attempts, some in between are not kept.",
    "status": "HTTP status of the response; null: there was none.",
    "reason": "Why it failed; null: it did not.",
    "flaw": "What was wrong with the form of the response; null: nothing, or it is not known.",
    "address": "IP address and port connected to; null: none, or it is not known.",
    "protocol": "Such as HTTP/1.1, TLSv1.3; null: there was no connection, or it is not known.",
    "message_id": "webhook-id; null: no request was sent.",
    "response": "The first 2 kB of a failed response for 24 hours, if the endpoint has keep_responses; it may have "
    "guest data in it. Null for a token that may only view.",
}


def _delivery(of: type[LoggedDelivery], *, without: Sequence[str]) -> dict[str, Any]:
    names = [field.name for field in fields(of) if field.name not in without]
    return _of_fields(of, names, _DELIVERY_MEANINGS)


_TIMELINE = {
    "type": "array",
    "items": ref("Attempt"),
    "description": "Its attempts, as far as they are kept; always the last one.",
}
_DETAILS = object_of(_delivery(DeliveryDetails, without=("endpoint_id", "read_at")) | {"timeline": _TIMELINE})


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "For programs; about:blank: see status."},
        "title": TEXT,
        "status": NUMBER,
        "detail": TEXT | {"description": "What is wrong, for people."},
        "remedy": TEXT | {"description": "What to do, for people; it may name commands of cdc-bridge."},
        "errors": {
            "type": "array",
            "description": "Every field that cannot be used.",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": TEXT, "detail": TEXT, "remedy": TEXT},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}

COMPONENTS: Mapping[str, Schema] = {
    "EndpointStatus": object_of(_STATUS),
    "Endpoint": object_of(_ENDPOINT),
    "Count": _COUNT,
    "Delivery": object_of(_delivery(LoggedDelivery, without=("endpoint_id",))),
    "DeliveryDetails": _DETAILS,
    "Attempt": object_of(
        _of_fields(TimelineAttempt, [field.name for field in fields(TimelineAttempt)], _ATTEMPT_MEANINGS)
    ),
    "TestResult": object_of(_of_fields(TestResult, [field.name for field in fields(TestResult)], {})),
    "Problem": _PROBLEM,
}
"""Schemas by the names that the document refers to them by."""
