"""What an EPOS vendor gets: the schema of what is posted, examples, the OpenAPI document, a test vector.

The files in this folder are the contract; nothing here knows how it is kept. A vendor begins with
``guide.md`` (:mod:`cdc_bridge.guides`).
Tests hold the files to what the bridge really sends, and every body that any test receives to the schema.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

EXAMPLES = {
    "announcement": "reservation-example.json",
    "no-call": "reservation-no-call.json",
    "cancelled": "reservation-cancelled.json",
    "walk-in": "reservation-walk-in.json",
    "with-deposit": "reservation-with-deposit.json",
}
"""The examples' names and files; the first is that of the announcement, the others are invented."""

SCHEMA_FILE = "reservation.schema.json"

RECEIVERS = {
    "python": ("receivers/python/receiver.py", "receivers/python/requirements.txt"),
    "node": ("receivers/node/receiver.mjs", "receivers/node/package.json", "receivers/node/package-lock.json"),
}
"""The example receivers' names and files: the program, and what says which libraries it needs."""

_LOCAL, _BUNDLED = "#/$defs/", "#/components/schemas/"


def text_of(file: str) -> str:
    """Return a file of the contract as it is."""
    folder = files("cdc_bridge.vendor")
    return (folder if "/" in file else folder / "documents").joinpath(file).read_text(encoding="utf-8")


def example(name: str = "announcement") -> dict[str, Any]:
    """Return an example.

    Raises:
        KeyError: there is none of that name.
    """
    return _read(EXAMPLES[name])


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a reservation."""
    return _read(SCHEMA_FILE)


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document with schema and examples in it, so that it leads to no other file."""
    document, reservation = _read("openapi.json"), schema()
    del reservation["$schema"]  # the document names it for all
    components = document["components"]
    components["schemas"] = {"Reservation": reservation, **reservation.pop("$defs"), **components["schemas"]}
    components["examples"] = {name: {"value": example(name)} for name in EXAMPLES}
    bundled: dict[str, Any] = _pointing_into_document(document)
    return bundled


def column_names() -> list[str]:
    """Return the keys of the contract in their order, nested ones with a dot, as the payload view names its columns."""
    return list(column_forms())


def column_forms() -> dict[str, str]:
    """Return of each column of the payload view the form that its values have, by its name in the schema's ``$defs``.

    What has none there is ``text``.
    """
    forms: dict[str, str] = {}
    for key, value in schema()["properties"].items():
        if "properties" in value:
            forms |= {f"{key}.{nested}": _form(inner) for nested, inner in value["properties"].items()}
        else:
            forms[key] = _form(value)
    return forms


def _form(value: dict[str, Any]) -> str:
    return str(value["$ref"]).removeprefix(_LOCAL) if "$ref" in value else "text"


def _pointing_into_document(value: Any) -> Any:
    if isinstance(value, list):
        return [_pointing_into_document(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _bundled(item) if key == "$ref" else _pointing_into_document(item) for key, item in value.items()}


def _bundled(reference: str) -> str:
    if reference == SCHEMA_FILE:
        return f"{_BUNDLED}Reservation"
    return reference.replace(_LOCAL, _BUNDLED)


def _read(file: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text_of(file))
    return parsed
