"""The contract with EPOS vendors: schema, examples, OpenAPI document, test vector, guide and example receivers.

The files in this folder are the contract. ``guide.md`` is where a vendor begins. Tests compare the files with what the
bridge really sends, and validate every body that any test receives against the schema.

The contract's version is ``info.version`` in ``openapi.json``. The guide promises vendors that no key or header is
removed or changes its meaning under the same major version.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from cdc_bridge.payload.formats import TEXT_TYPES

EXAMPLES = {
    "announcement": "reservation-example.json",
    "no-call": "reservation-no-call.json",
    "cancelled": "reservation-cancelled.json",
    "walk-in": "reservation-walk-in.json",
    "with-deposit": "reservation-with-deposit.json",
}
"""Names and files of the examples; the first is that of the announcement, the others are invented."""

SCHEMA_FILE = "reservation.schema.json"

RECEIVERS = {
    "python": ("receivers/python/receiver.py", "receivers/python/requirements.txt"),
    "node": ("receivers/node/receiver.mjs",),
    "php": ("receivers/php/receiver.php",),
    "java": ("receivers/java/Receiver.java",),
    "csharp": ("receivers/csharp/receiver.cs",),
}
"""Names and files of the example receivers: the program, and its list of dependencies if it has any."""

LARGEST_BODY_BYTES = 2_000_000
"""Size of a body that the guide asks vendors to accept: more than web servers and frameworks do unless they are set."""

_WHOLE_NUMBERS = frozenset({"int2", "int4", "int8"})
_NUMBERS = _WHOLE_NUMBERS | {"numeric", "float4", "float8"}
_JSON = frozenset({"json", "jsonb"})  # only their values say what they are written as

_FITTING = {
    form: types | _JSON
    for form, types in {
        "text": TEXT_TYPES | {"uuid", "date", "timestamptz", "bool"},
        "key": TEXT_TYPES | {"uuid", "numeric"} | _WHOLE_NUMBERS,
        "keyOrNone": TEXT_TYPES | {"uuid", "numeric"} | _WHOLE_NUMBERS,
        "flag": TEXT_TYPES | {"bool"},
        "instant": frozenset({"timestamptz"}),
        "count": _NUMBERS,
        "amount": _NUMBERS,
    }.items()
}
"""By form of the schema: column types that are, or may be, written in it."""

_LOCAL, _BUNDLED = "#/$defs/", "#/components/schemas/"


def text_of(file: str) -> str:
    """Return the text of a file of the contract."""
    folder = files("cdc_bridge.vendor")
    return (folder if "/" in file else folder / "documents").joinpath(file).read_text(encoding="utf-8")


def example(name: str = "announcement") -> dict[str, Any]:
    """Return an example.

    Raises:
        KeyError: There is no example of that name.
    """
    return _read(EXAMPLES[name])


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a request body."""
    return _read(SCHEMA_FILE)


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document with schema and examples inlined, without references to other files."""
    document, reservation = _read("openapi.json"), schema()
    del reservation["$schema"]  # The document names the dialect once for all schemas.
    components = document["components"]
    components["schemas"] = {"Reservation": reservation, **reservation.pop("$defs"), **components["schemas"]}
    components["examples"] = {name: {"value": example(name)} for name in EXAMPLES}
    bundled: dict[str, Any] = _with_local_references(document)
    return bundled


def instant(at: datetime) -> str:
    """Return a time as bodies have it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def column_names() -> list[str]:
    """Return the keys in order, nested ones with a dot, as the payload names its columns."""
    return list(column_forms())


def column_forms() -> dict[str, str]:
    """Return the form of each column's values, by its name in the schema's ``$defs``; others are ``text``."""
    forms: dict[str, str] = {}
    for key, value in schema()["properties"].items():
        if "properties" in value:
            forms |= {f"{key}.{nested}": form_in_contract(inner) for nested, inner in value["properties"].items()}
        else:
            forms[key] = form_in_contract(value)
    return forms


def is_written_in(form: str, type_: str) -> bool:
    """Return whether a column's type is, or may be, written in a form of the schema."""
    return type_ in _FITTING[form]


def is_text_in(form: str, text: str) -> bool:
    """Return whether a text, as it is sent, is a value of a form of the schema that has texts."""
    value = schema()["$defs"].get(form, {})
    return re.search(value.get("pattern", ""), text) is not None and text in value.get("enum", [text])


def form_in_contract(value: dict[str, Any]) -> str:
    """Return the form of a property of the schema."""
    return str(value["$ref"]).removeprefix(_LOCAL) if "$ref" in value else "text"


def _with_local_references(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_local_references(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _bundled(item) if key == "$ref" else _with_local_references(item) for key, item in value.items()}


def _bundled(reference: str) -> str:
    if reference == SCHEMA_FILE:
        return f"{_BUNDLED}Reservation"
    return reference.replace(_LOCAL, _BUNDLED)


def _read(file: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text_of(file))
    return parsed
