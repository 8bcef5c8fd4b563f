"""The JSON Schema of a payload's bodies, derived from its definition, for a vendor who agreed on other bodies.

A key that the contract has too, and that is written alike, is described as there. Of any other one no more is known
than the type of its column, and that it may be null.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from cdc_bridge.payload.definition import RESERVATION, PayloadDefinition
from cdc_bridge.payload.formats import form_of
from cdc_bridge.vendor.contract import form_in_contract, is_written_in, schema

_Columns = Sequence[tuple[Sequence[str], str]]
"""Path of keys, and type, of each column."""

_BY_FORM: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "number": {"type": ["number", "null"]},
    "timestamptz": {"$ref": "#/$defs/instant"},
    "date": {"type": ["string", "null"], "format": "date", "examples": ["2021-02-22"]},
    "bool": {"type": ["string", "null"], "enum": ["T", "F", None]},
    "uuid": {
        "type": ["string", "null"],
        "pattern": "^[0-9A-F]{32}$",
        "examples": ["43B39683AB734A038ADA1B27345E9C90"],
    },
    "json": {},
}
_KEPT = ("$schema", "propertyNames")
_DESCRIPTION = (
    "A reservation of e-Res, as this restaurant sends it. Every key is always there; do not rely on the order. A "
    'restaurant may send more keys: ignore keys that you do not know. Missing text is "".'
)


def agreed_schema(definition: PayloadDefinition) -> dict[str, Any]:
    """Return the schema that a payload's bodies are held to: the contract's, if it is the payload that it describes."""
    return schema() if definition.name == RESERVATION else schema_of_payload(definition)


def schema_of_payload(definition: PayloadDefinition) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a payload's bodies; ``@`` columns, which are not sent, are not in it."""
    contract = schema()
    columns = zip(definition.columns, definition.types, strict=True)
    sent = [(name.split("."), type_) for name, type_ in columns if not name.startswith("@")]
    described = {"properties": contract["properties"], "title": definition.name, "description": _DESCRIPTION}
    body = {key: contract[key] for key in _KEPT} | _object(sent, described, "object")
    named = re.findall(r'"#/\$defs/(\w+)"', orjson.dumps(body).decode())
    return body | {"$defs": {name: form for name, form in contract["$defs"].items() if name in named}}


def _object(columns: _Columns, described: dict[str, Any], type_: str | list[str]) -> dict[str, Any]:
    groups: dict[str, list[tuple[Sequence[str], str]]] = {}
    for path, column_type in columns:
        groups.setdefault(path[0], []).append((path[1:], column_type))
    known = described.get("properties", {})
    properties = {
        key: _object(group, known.get(key, {}), ["object", "null"])
        if group[0][0]
        else _value(group[0][1], known.get(key))
        for key, group in groups.items()
    }
    about: dict[str, Any] = {word: described[word] for word in ("title", "description") if word in described}
    return {**about, "type": type_, "required": list(properties), "properties": properties}


def _value(type_: str, described: dict[str, Any] | None) -> dict[str, Any]:
    form = form_of(type_)
    known = described is not None and "properties" not in described and form != "json"
    if described is not None and known and is_written_in(form_in_contract(described), type_):
        return described
    return _BY_FORM[form]
